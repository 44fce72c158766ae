"""Pairs on the device: values against numpy, symmetries alike for both sensors, fixed draws."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from crbench.data.cache.reading import open_cache
from crbench.data.pairs import Pairs, dihedral, epoch_order, hash_keys
from crbench.data.pixels import Resident
from crbench.seeds import derive


@pytest.fixture(scope="module")
def pairs(twin_cache: Path) -> Pairs:
    return Pairs(open_cache(twin_cache), ["train"], image_size=32)


def test_values_are_z_scores_of_the_stored_ones(pairs: Pairs, twin_cache: Path) -> None:
    cache = open_cache(twin_cache)
    batch = pairs.batch(np.array([7, 3, 7]))
    for which in ("a", "b"):
        stats = cache.stats(which)
        stored = cache.images(which)[[7, 3, 7]].astype(np.float64)
        mean, std = stats["mean"][:, None, None], stats["std"][:, None, None]
        np.testing.assert_allclose(batch[which], (stored - mean) / std, atol=2e-5)
        assert batch[which].dtype == torch.float32
    assert batch["rows"].tolist() == [7, 3, 7]
    torch.testing.assert_close(pairs.images("b", torch.tensor([3])), batch["b"][1:2])


def test_an_epoch_is_normalised(pairs: Pairs) -> None:
    batch = pairs.batch(epoch_order(len(pairs), 0, 0))
    for which in ("a", "b"):
        assert batch[which].mean((0, 2, 3)).abs().max() < 1e-4
        torch.testing.assert_close(
            batch[which].std((0, 2, 3)), torch.ones(batch[which].shape[1]), atol=1e-3, rtol=0
        )


def test_the_whole_range_of_uint16_survives(pairs: Pairs) -> None:
    native = torch.from_numpy(
        np.array([0, 1, 32767, 32768, 40000, 65535], dtype=np.uint16).view(np.int16)
    )
    images = native.reshape(6, 1, 1, 1).expand(6, 12, 32, 32).contiguous()
    store = object.__new__(Resident)
    store.__dict__.update(pairs.stores["b"].__dict__, pixels=images)
    probe = object.__new__(Pairs)
    probe.__dict__.update(pairs.__dict__, stores={"b": store})
    mean, std = pairs._affine["b"]
    found = probe.images("b", np.arange(6)) * std + mean
    expected = torch.tensor([0, 1, 32767, 32768, 40000, 65535.0])
    torch.testing.assert_close(found[:, 4, 9, 9], expected, atol=0.05, rtol=1e-6)


def test_other_splits_and_sizes(twin_cache: Path) -> None:
    cache = open_cache(twin_cache)
    small = Pairs(cache, ["val", "test"], image_size=16)
    assert len(small) == 64
    assert small.rows.tolist() == list(range(96, 160))
    assert small.batch(np.arange(5))["b"].shape == (5, 12, 16, 16)
    only = Pairs(cache, ["val"], image_size=32, modalities=["b"])
    assert set(only.batch(np.arange(2))) == {"b", "keys", "rows"}


def test_keys_are_hashes_of_the_ids(pairs: Pairs, twin_cache: Path) -> None:
    cache = open_cache(twin_cache)
    assert pairs.keys.tolist() == [derive(name) for name in cache.ids[:96]]
    assert len(set(pairs.keys.tolist())) == 96


def _marked(n: int, side_a: int, side_b: int) -> dict[str, torch.Tensor]:
    """Pairs whose a and b show the same corner pattern at their own sizes."""
    corner = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    return {
        which: functional.interpolate(corner[None, None], (side, side)).repeat(n, 1, 1, 1)
        for which, side in (("a", side_a), ("b", side_b))
    } | {"keys": torch.tensor([derive("item", k) for k in range(n)])}


def test_dihedral_turns_both_sensors_alike_and_reaches_all_eight() -> None:
    batch = _marked(400, 8, 4)
    turned = dihedral(batch, 0, 3)
    a, b = (turned[w][:, 0, :: s // 2, :: s // 2].reshape(400, 4) for w, s in (("a", 8), ("b", 4)))
    torch.testing.assert_close(a, b)
    seen, counts = torch.unique(a, dim=0, return_counts=True)
    assert len(seen) == 8
    assert counts.min() > 25
    assert torch.equal(turned["keys"], batch["keys"])


def test_dihedral_depends_on_seed_epoch_and_key_not_on_the_order() -> None:
    batch = _marked(64, 4, 4)
    order = torch.randperm(64, generator=torch.Generator().manual_seed(1))
    shuffled = {name: value[order] for name, value in batch.items()}
    one = dihedral(batch, 0, 3)
    torch.testing.assert_close(dihedral(shuffled, 0, 3)["a"], one["a"][order])
    assert not torch.equal(dihedral(batch, 0, 4)["a"], one["a"])
    assert not torch.equal(dihedral(batch, 1, 3)["a"], one["a"])


def test_dihedral_moves_pixels_and_changes_none(pairs: Pairs) -> None:
    batch = pairs.batch(np.arange(16))
    turned = dihedral(batch, 5, 1)
    torch.testing.assert_close(
        turned["b"].flatten(2).sort(2).values, batch["b"].flatten(2).sort(2).values
    )


def test_orders_are_permutations_of_their_own() -> None:
    orders = [epoch_order(1000, seed, epoch) for seed in (0, 1) for epoch in (0, 1)]
    for order in orders:
        assert np.array_equal(np.sort(order), np.arange(1000))
        assert abs(np.corrcoef(order, np.arange(1000))[0, 1]) < 0.1
    assert len({order.tobytes() for order in orders}) == 4


def _splitmix64(x: int) -> int:
    """Steele et al. 2014, on Python's unbounded integers."""
    low = 2**64 - 1
    x = x * 0x9E3779B97F4A7C15 & low
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & low
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & low
    return x ^ (x >> 31)


def test_orders_and_hashes_never_change() -> None:
    """Runs of old records must be repeatable: golden values, and the published mixing function."""
    assert epoch_order(8, 0, 0).tolist() == [1, 7, 4, 5, 6, 2, 0, 3]
    keys = [0, 1, 2**62, 2**63 - 1]
    expected = [_splitmix64(key ^ derive("x", 1)) & (2**63 - 1) for key in keys]
    assert hash_keys(torch.tensor(keys), "x", 1).tolist() == expected
    assert expected[0] == 8229107264623532277


def test_hashes_are_even() -> None:
    bits = hash_keys(torch.arange(4096), "even")
    assert bits.min() >= 0
    for bit in (0, 20, 40, 62):
        assert abs(((bits >> bit) & 1).double().mean() - 0.5) < 0.04


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_a_gpu_gives_the_same_batches(pairs: Pairs, twin_cache: Path) -> None:
    there = Pairs(open_cache(twin_cache), ["train"], image_size=32, device="cuda")
    order = epoch_order(len(pairs), 0, 1)[:32]
    one, other = dihedral(pairs.batch(order), 0, 1), dihedral(there.batch(order), 0, 1)
    assert other["a"].device.type == "cuda"
    for which in ("a", "b", "keys"):
        torch.testing.assert_close(other[which].cpu(), one[which], atol=1e-4, rtol=1e-5)
