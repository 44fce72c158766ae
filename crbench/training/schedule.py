"""The optimiser and its schedules, from timm, as the ``[train]`` table of a card states them."""

from __future__ import annotations

import logging
import math
from typing import Any

import torch
from timm.optim import param_groups_weight_decay
from timm.scheduler import CosineLRScheduler
from torch import nn

from crbench.cards import TrainTable
from crbench.models.base import Step

# It warns of a cosine of one step, which a run of one step asks for.
logging.getLogger("timm.scheduler.cosine_lr").setLevel(logging.ERROR)


def make_optimizer(model: nn.Module, train: TrainTable) -> torch.optim.Optimizer:
    """AdamW over the trainable parameters; vectors (biases, norms) decay only if the card asks."""
    if train.decay_vectors:
        trainable = [p for p in model.parameters() if p.requires_grad]
        groups: list[dict[str, Any]] = [{"params": trainable, "weight_decay": 1.0}]
    else:
        groups = param_groups_weight_decay(model, 1.0)  # 1 marks the groups that decay
    for group in groups:
        group["decays"] = bool(group["weight_decay"])
        group["weight_decay"] *= train.weight_decay
    fused = any(p.is_cuda for p in model.parameters())
    # on a CPU lists of tensors are quicker than one by one, and equal to the bit; fused is not
    return torch.optim.AdamW(groups, lr=train.lr, fused=fused, foreach=not fused)


def make_scheduler(
    optimizer: torch.optim.Optimizer, train: TrainTable, steps_per_epoch: int
) -> CosineLRScheduler:
    """Per step: linear ``lr_start`` → ``lr`` over the warm-up, then cosine to ``lr_end``."""
    total = max(1, train.epochs * steps_per_epoch)
    warmup = min(int(train.warmup_epochs * steps_per_epoch), total - 1)
    return CosineLRScheduler(
        optimizer,
        t_initial=total - warmup,
        lr_min=train.lr_end,
        warmup_t=warmup,
        warmup_lr_init=train.lr_start,
        warmup_prefix=True,
        t_in_epochs=False,
    )


def set_weight_decay(optimizer: torch.optim.Optimizer, train: TrainTable, step: Step) -> None:
    """Move the decay of the groups that have one along its cosine."""
    start, end = train.weight_decay, train.weight_decay_end
    value = end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * step.progress))
    for group in optimizer.param_groups:
        if group["decays"]:
            group["weight_decay"] = value
