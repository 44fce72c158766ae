"""The shared encoder: filled-up context entries count for nothing, its copies move slowly."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from crbench.cards import load_method
from crbench.models.base import Step
from crbench.models.encoder import (
    EMATable,
    Encoder,
    EncoderTable,
    follow,
    normalised,
    pool,
)
from crbench.models.masking import MaskTable, draw_blocks
from crbench.models.registry import build_method

TABLE = EncoderTable(
    image_size=32,
    patch_size=4,
    width=16,
    depth=2,
    num_heads=2,
    mlp_ratio=2.0,
    predictor_depth=1,
    masks=MaskTable(min_context=8),
    ema=EMATable(),
)


def test_context_is_encoded_as_if_each_sample_had_its_own_length() -> None:
    torch.manual_seed(0)
    encoder = Encoder({"a": 2}, TABLE, counted=False)
    images = torch.randn(24, 2, 32, 32)
    blocks = draw_blocks(TABLE.masks, TABLE.side, torch.arange(24), Step(0, 0, 10, 0))
    assert not blocks.valid.all()  # otherwise this would test nothing
    pooled = pool(encoder(images, "a", blocks), blocks.valid)
    tokens = encoder.stems["a"](images) + encoder.positions
    for i in range(24):
        own = tokens[i, blocks.context[i][blocks.valid[i]]]
        expected = encoder.trunk(own[None]).mean(1)[0]
        torch.testing.assert_close(pooled[i], expected, rtol=1e-4, atol=1e-5)


def test_context_does_not_see_the_targets() -> None:
    torch.manual_seed(0)
    encoder = Encoder({"a": 2}, TABLE, counted=False)
    images = torch.randn(6, 2, 32, 32)
    blocks = draw_blocks(TABLE.masks, TABLE.side, torch.arange(6), Step(0, 0, 10, 0))
    hidden = torch.zeros(6, 64).scatter(1, blocks.targets.flatten(1), 1.0).view(6, 1, 8, 8)
    changed = images + 5 * hidden.repeat_interleave(4, 2).repeat_interleave(4, 3)
    before, after = (pool(encoder(x, "a", blocks), blocks.valid) for x in (images, changed))
    assert torch.equal(before, after)
    assert not torch.allclose(encoder(images, "a"), encoder(changed, "a"), atol=0.1)


def test_positions_count_as_parameters_only_where_they_should() -> None:
    counted, free = (Encoder({"a": 2}, TABLE, counted=c) for c in (True, False))
    numbers = [sum(p.numel() for p in e.parameters()) for e in (counted, free)]
    assert numbers[0] - numbers[1] == 64 * 16
    assert not dict(counted.named_parameters())["positions"].requires_grad
    assert "positions" not in free.state_dict()
    torch.testing.assert_close(counted.positions, free.positions)


def test_normalised_tokens_have_no_mean_and_unit_variance() -> None:
    tokens = normalised(7 * torch.randn(3, 5, 64).bfloat16() + 2)
    assert tokens.dtype == torch.float32
    torch.testing.assert_close(tokens.mean(-1), torch.zeros(3, 5), atol=1e-5, rtol=0)
    torch.testing.assert_close(tokens.var(-1, correction=0), torch.ones(3, 5), atol=1e-3, rtol=0)


def test_every_parameter_moves_by_a_share_that_shrinks_linearly() -> None:
    torch.manual_seed(0)
    online = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    before = [parameter.detach().double() for parameter in copy.deepcopy(online).parameters()]
    for index, share in ((0, 0.004), (25, 0.003), (50, 0.002), (99, 0.004 * 0.01)):
        target = copy.deepcopy(online)
        with torch.no_grad():
            for parameter in online.parameters():
                parameter.add_(1.0)
        follow(target, online, EMATable(), Step(index, 0, 100, 0))
        for moved, start in zip(target.parameters(), before, strict=True):
            torch.testing.assert_close(moved.double(), start + share, rtol=1e-6, atol=1e-6)
        online.load_state_dict(dict(zip(online.state_dict(), before, strict=True)))


def test_a_momentum_of_one_changes_nothing() -> None:
    online = nn.Linear(3, 4)
    target = copy.deepcopy(online)
    before = [p.clone() for p in target.parameters()]
    nn.init.zeros_(online.weight)
    follow(target, online, EMATable(start=1.0), Step(0, 0, 1, 0))
    assert all(torch.equal(a, b) for a, b in zip(before, target.parameters(), strict=True))


@pytest.mark.parametrize("name", ["x-jepa", "rejepa"])
def test_copies_share_no_memory_and_take_no_gradient(name: str) -> None:
    model = build_method(load_method(name, scale="tiny"), {"a": 2, "b": 3})
    online, target = (
        (model.context, model.target) if name == "rejepa" else (model.encoders, model.targets)
    )
    pairs = list(zip(online.parameters(), target.parameters(), strict=True))
    assert pairs and all(torch.equal(mine, theirs) for mine, theirs in pairs)
    assert not any(theirs.requires_grad for _, theirs in pairs)
    assert any(mine.requires_grad for mine, _ in pairs)
    assert all(mine.data_ptr() != theirs.data_ptr() for mine, theirs in pairs)
