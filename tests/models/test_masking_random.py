"""Random masks: exact, complete, reproducible, and a function of (seed, epoch, key) alone."""

from __future__ import annotations

import pytest
import torch

from crbench.models.masking import masked_count, random_split

KEYS = torch.arange(1, 201) * 7919 - 500_000  # of both signs


@pytest.mark.parametrize("tokens", [4, 16, 64, 196])
@pytest.mark.parametrize("ratio", [0.25, 0.5, 0.75])
def test_ratio_exact_disjoint_and_complete(tokens: int, ratio: float) -> None:
    visible, hidden = random_split(KEYS, tokens, ratio, 0, 3, "a")
    assert hidden.shape == (len(KEYS), tokens * ratio)
    both = torch.cat([visible, hidden], dim=1).sort(dim=1).values
    assert torch.equal(both, torch.arange(tokens).expand_as(both))


def test_at_least_one_token_on_each_side() -> None:
    assert masked_count(4, 0.01) == 1
    assert masked_count(4, 0.99) == 3


def test_split_depends_on_the_key_and_not_on_the_batch() -> None:
    order = torch.randperm(len(KEYS), generator=torch.Generator().manual_seed(0))
    straight = random_split(KEYS, 64, 0.5, 0, 0).hidden
    assert torch.equal(random_split(KEYS[order], 64, 0.5, 0, 0).hidden, straight[order])
    assert torch.equal(random_split(KEYS[5:6], 64, 0.5, 0, 0).hidden, straight[5:6])
    assert len(torch.unique(straight.sort(1).values, dim=0)) == len(KEYS)


@pytest.mark.parametrize("seed", [(1, 0, "a"), (0, 1, "a"), (0, 0, "b")])
def test_split_changes_with_seed_epoch_and_modality(seed: tuple[object, ...]) -> None:
    first = random_split(KEYS, 64, 0.5, 0, 0, "a").hidden
    other = random_split(KEYS, 64, 0.5, *seed).hidden
    shared = [len(set(x) & set(y)) for x, y in zip(first.tolist(), other.tolist(), strict=True)]
    assert 14 < sum(shared) / len(shared) < 18  # 16 of 32 expected of independent draws


def test_every_token_is_hidden_as_often_as_the_others() -> None:
    hidden = random_split(torch.arange(20_000), 16, 0.25, 0, 0).hidden
    share = torch.bincount(hidden.flatten(), minlength=16) / 20_000
    assert (share - 0.25).abs().max() < 0.02  # 6.5 standard deviations


@pytest.mark.skipif(not torch.cuda.is_available(), reason="compares the two kinds of device")
def test_cuda_draws_the_same_masks() -> None:
    here = random_split(KEYS, 196, 0.5, 0, 0)
    there = random_split(KEYS.cuda(), 196, 0.5, 0, 0)
    assert all(torch.equal(x, y.cpu()) for x, y in zip(here, there, strict=True))
