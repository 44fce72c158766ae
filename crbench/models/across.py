"""Losses over the global batch, where several ranks train one model on a share of it each.

Gradients. The engine averages the ranks' gradients (DDP): g = (1/W) Σ_r g_r over W ranks. A loss
that is a mean over samples is the mean of its values on the ranks, so g is right as it is. A loss
over the whole batch, L, is computed by every rank from what all of them have, and rank r has
to contribute g_r with (1/W) Σ_r g_r = Σ_r ∂L/∂z_r · ∂z_r/∂θ, with z_r what rank r has put in:

So ``gathered`` hands its own part W · ∂L/∂z_r back: no rank needs another's gradient, since all
have the same L, and the way back needs no network. ``averaged`` is a mean over what it gathers.
With one rank both do nothing. Which ranks take part is said by ``ranks``, not by whether processes
happen to be joined: a loss that one rank computes for itself must not wait for the others.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

_group: dist.ProcessGroup | None = None


@contextlib.contextmanager
def ranks(group: dist.ProcessGroup | None) -> Iterator[None]:
    """Losses inside are over the batch of all ranks of ``group``; None: of this process."""
    global _group
    before, _group = _group, group
    try:
        yield
    finally:
        _group = before


def size() -> int:
    """Number of ranks that share a batch."""
    return 1 if _group is None else dist.get_world_size(_group)


def gathered(x: Tensor) -> Tensor:
    """``x`` (b, …) of every rank, in their order, (W·b, …); b must be the same on all."""
    return x if _group is None else _Gathered.apply(x, _group)


def averaged(x: Tensor) -> Tensor:
    """The mean of ``x``, of any shape, over the ranks."""
    return x if _group is None else gathered(x[None]).mean(0)


class _Gathered(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.rank, ctx.size = dist.get_rank(group), dist.get_world_size(group)
        parts = [torch.empty_like(x) for _ in range(ctx.size)]
        dist.all_gather(parts, x.contiguous(), group=group)
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient.chunk(ctx.size)[ctx.rank] * ctx.size, None
