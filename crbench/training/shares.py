"""Which loss terms move the weights: each term's share of the gradient, at three points of a run.

A weight in a card says little of a term's influence: SIGReg, for one, has almost no slope where
projections are near zero, whatever its weight. So the gradients themselves are measured, and the
record keeps them. Measuring changes no weight and draws no random number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn


def measured_steps(steps: int) -> tuple[int, ...]:
    """The steps before which shares are measured, of ``steps``: the first, the middle, the last."""
    return tuple(sorted({0, steps // 2, steps - 1})) if steps > 0 else ()


def gradient_shares(
    terms: Mapping[str, Tensor], model: nn.Module, group: dist.ProcessGroup | None = None
) -> dict[str, float]:
    """‖w·∇L‖ of each term over the sum of all terms', in [0, 1], by the term's name.

    ``terms``: what ``Method.loss`` returned, of this rank's part of a batch, before the way back;
    ∇ is over all parameters that are trained, the mean over the ranks of ``group``. The weight w
    of a term is how much of it the loss holds, ∂loss/∂term. A term that has no gradient, as in
    methods that give their terms detached, is left out; all of them: {}.
    """
    live = {name: term for name, term in terms.items() if name != "loss" and term.requires_grad}
    if not live:
        return {}
    weights = torch.autograd.grad(
        terms["loss"], list(live.values()), retain_graph=True, allow_unused=True
    )
    trained = [p for p in model.parameters() if p.requires_grad]
    norms: dict[str, float] = {}
    for (name, term), weight in zip(live.items(), weights, strict=True):
        if weight is None:  # reported, and no part of the loss
            continue
        parts = torch.autograd.grad(term, trained, retain_graph=True, allow_unused=True)
        gradient = torch.cat([part.reshape(-1).float() for part in parts if part is not None])
        if group is not None:
            dist.all_reduce(gradient, group=group)
            gradient /= dist.get_world_size(group)
        norms[name] = float(weight.abs() * gradient.norm())
    whole = sum(norms.values())
    if not whole or not math.isfinite(whole):
        return {}
    return {name: norm / whole for name, norm in norms.items()}
