"""Losses are computed in fp32 also under mixed precision, and in float64 when given it."""

from __future__ import annotations

import torch
from torch import Tensor


def full(x: Tensor) -> Tensor:
    """``x`` in at least fp32: half precision is widened, float64 stays."""
    return x if x.dtype == torch.float64 else x.float()
