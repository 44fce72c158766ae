"""Target encoders: slowly moving copies of the encoders that are trained."""

from __future__ import annotations

import copy
from typing import TypeVar

import torch
from pydantic import Field
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from crbench.cards import Strict
from crbench.models.base import Step

M = TypeVar("M", bound=nn.Module)


class EMATable(Strict):
    """Momentum of the moving average: ``start`` at the first step, linearly to ``end``."""

    start: float = Field(0.996, ge=0, le=1)
    end: float = Field(1.0, ge=0, le=1)


def momentum(table: EMATable, step: Step) -> float:
    """Share of the old weights that a step keeps (I-JEPA: 0.996 → 1.0, linear)."""
    return table.start + (table.end - table.start) * step.progress


def frozen_copy(module: M) -> M:
    """A copy with equal weights that no gradient reaches."""
    return copy.deepcopy(module).requires_grad_(False)


@torch.no_grad()
def update(target: nn.Module, online: nn.Module, share: float) -> None:
    """target ← share · target + (1 − share) · online, for all parameters in one fused pass."""
    get_ema_multi_avg_fn(share)(list(target.parameters()), list(online.parameters()), 0)
