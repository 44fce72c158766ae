"""Random numbers as a function of what they are for: integer hashing on the device.

A generator's state depends on who drew before; a hash does not. So masks and directions come out
the same on CPU and CUDA, in any batch order and on any number of ranks, without a host sync.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from crbench.seeds import GOLDEN, finalise, logical_shift


def mix(x: Tensor) -> Tensor:
    """A bijection of int64 that flips half of the bits when one is flipped (SplitMix64)."""
    mixed: Tensor = finalise(x + GOLDEN)
    return mixed


def hashed(seed: int, *parts: Tensor) -> Tensor:
    """int64 hash of ``seed`` in [0, 2**63) and integer tensors, over their broadcast shape."""
    state = mix(torch.full((), seed, dtype=torch.int64, device=parts[0].device))
    for part in parts:
        state = mix(state ^ mix(part))
    return state


def uniform(hashes: Tensor) -> Tensor:
    """float32 in the open interval (0, 1) from the upper 23 bits of ``hashes``."""
    return (logical_shift(hashes, 41).float() + 0.5) * 2.0**-23


def normal(seed: int, *shape: int, device: torch.device | str | None = None) -> Tensor:
    """Standard normal float32 of ``shape``, a function of ``seed`` alone (Box and Muller)."""
    index = torch.arange(math.prod(shape), device=device)
    radius = (-2.0 * uniform(hashed(seed, index, torch.zeros_like(index))).log()).sqrt()
    angle = 2.0 * math.pi * uniform(hashed(seed, index, torch.ones_like(index)))
    return (radius * angle.cos()).view(shape)
