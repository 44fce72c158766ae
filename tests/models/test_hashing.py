"""Random numbers as a function of what they are for: SplitMix64, uniform and normal."""

from __future__ import annotations

import torch

from crbench.models.hashing import hashed, mix, normal, uniform


def reference_mix(x: int) -> int:
    """splitmix64 on Python's unbounded integers."""
    word = (1 << 64) - 1
    x = (x + 0x9E3779B97F4A7C15) & word
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & word
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & word
    return x ^ (x >> 31)


def test_mix_is_splitmix64() -> None:
    values = [0, 1, -1, 2**62, -(2**63), 1234567890123456789]
    mixed = mix(torch.tensor(values)).tolist()
    assert [value % 2**64 for value in mixed] == [reference_mix(v % 2**64) for v in values]


def test_uniform_and_normal_have_their_distribution() -> None:
    u = uniform(hashed(5, torch.arange(200_000)))
    assert float(u.min()) > 0 and float(u.max()) < 1
    assert (torch.histc(u, 20, 0, 1) / 10_000 - 1).abs().max() < 0.05
    z = normal(5, 400, 500)
    moments = [z.mean(), z.var() - 1, (z**3).mean(), (z**4).mean() - 3]
    assert max(abs(float(m)) for m in moments) < 0.05
    assert torch.equal(z, normal(5, 400, 500)) and not torch.equal(z, normal(6, 400, 500))


def test_a_hash_is_that_of_python_integers() -> None:
    """Masks of runs of years ago are drawn by it."""
    word = (1 << 64) - 1
    state = reference_mix(3)
    for part in (-5 & word, 2**40):
        state = reference_mix(state ^ reference_mix(part))
    found = hashed(3, torch.tensor([-5]), torch.tensor([2**40])).item()
    assert found % 2**64 == state


def test_a_hash_depends_on_each_part_at_its_place() -> None:
    key, index = torch.arange(4).unsqueeze(1), torch.arange(5)
    table = hashed(3, key, index)
    assert table.shape == (4, 5) and table.unique().numel() == 20
    assert torch.equal(table[2:3, 1:2], hashed(3, torch.tensor([[2]]), torch.tensor([1])))
    assert not torch.equal(hashed(3, index, index + 1), hashed(3, index + 1, index))
    assert not torch.equal(table, hashed(4, key, index))


def test_normal_numbers_do_not_depend_on_how_many_have_been_drawn() -> None:
    torch.manual_seed(0)
    first = normal(9, 3, 4)
    torch.rand(100)
    assert torch.equal(normal(9, 12).view(3, 4), first)
