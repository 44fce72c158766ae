"""Seeds and hashes: the published functions, the same on every library, for ever."""

import hashlib

import numpy as np
import torch

from crbench.seeds import GOLDEN, derive, finalise, logical_shift

NUMBERS = [0, 1, -1, 2**62, -(2**63), 2**63 - 1, 123456789]


def _finaliser(x: int) -> int:
    """Of SplitMix64 (Steele et al. 2014), on Python's unbounded integers."""
    low = 2**64 - 1
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 & low
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB & low
    return x ^ (x >> 31)


def test_the_finaliser_is_the_published_one_on_numpy_and_torch() -> None:
    expected = [_finaliser(number % 2**64) for number in NUMBERS]
    by_numpy = finalise(np.array(NUMBERS, dtype=np.int64))
    assert by_numpy.view(np.uint64).tolist() == expected
    assert torch.equal(finalise(torch.tensor(NUMBERS)), torch.from_numpy(by_numpy))


def test_the_generator_gives_its_published_first_number() -> None:
    """Of seed 0, as the reference code prints it."""
    first = finalise(np.zeros(1, dtype=np.int64) + GOLDEN).view(np.uint64)
    assert first.tolist() == [0xE220A8397B1DCDAF]


def test_a_logical_shift_brings_in_zeros() -> None:
    assert logical_shift(np.array([-1]), 60).tolist() == [15]
    assert logical_shift(torch.tensor([-(2**63)]), 63).tolist() == [1]


def test_a_derived_seed_is_the_hash_of_its_names() -> None:
    digest = hashlib.sha256(b"0\x1finit\x1fcr-jepa").digest()
    assert derive(0, "init", "cr-jepa") == int.from_bytes(digest[:8], "little") >> 1
    assert derive("a", "b") != derive("ab")
