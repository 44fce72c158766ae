"""Named seeds: a seed is the hash of what it is for, so adding one thing never moves another's."""

from __future__ import annotations

import hashlib
from typing import Any

# SplitMix64 (Steele, Lea and Flood, OOPSLA 2014); its constants as signed 64-bit integers
GOLDEN, _FIRST, _SECOND = (
    value - (1 << 64) for value in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)
)


def derive(*names: object) -> int:
    """A seed in [0, 2**63) from the names of its purpose, e.g. ``derive(seed, "init", method)``."""
    digest = hashlib.sha256("\x1f".join(str(name) for name in names).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def logical_shift(x: Any, bits: int) -> Any:
    """Right shift of int64 that fills with zeros; the operator itself drags the sign along."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)


def finalise(x: Any) -> Any:
    """SplitMix64's finaliser, a bijection of int64 modulo 2⁶⁴, by operators alone: NumPy arrays and
    torch tensors on any device get the same numbers."""
    x = (x ^ logical_shift(x, 30)) * _FIRST
    x = (x ^ logical_shift(x, 27)) * _SECOND
    return x ^ logical_shift(x, 31)
