"""VICReg: invariance, variance and covariance of two sets of embeddings.

Bardes, Ponce and LeCun 2022 (arXiv 2105.04906), equations 1 to 6, with the scaling of its code:
the variance hinge is the mean of the two sides, the covariance term their sum.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from crbench.models.losses import across
from crbench.models.losses.precision import full

EPSILON = 1e-4  # inside the root of the variance, so that a dead dimension has a finite gradient


def vicreg(x: Tensor, y: Tensor, *, hinge: float = 1.0) -> dict[str, Tensor]:
    """The three terms, unweighted, for embeddings ``x`` and ``y`` (B, D) of the same items.

    ``invariance``: mean squared difference. ``variance``: mean over dimensions and sides of
    max(0, hinge − std), 0 where every dimension spreads by ``hinge`` or more, ``hinge`` where
    all is collapsed. ``covariance``: squared off-diagonal covariances, summed, over D.
    Scalars ≥ 0, computed in at least fp32; the standard deviations need B ≥ 2. Where ranks share
    a batch, all three are over all of it.
    """
    with torch.autocast(x.device.type, enabled=False):
        x, y = (across.gathered(full(side)) for side in (x, y))
        spreads = [F.relu(hinge - (side.var(0) + EPSILON).sqrt()).mean() for side in (x, y)]
        return {
            "invariance": F.mse_loss(x, y),
            "variance": (spreads[0] + spreads[1]) / 2,
            "covariance": _off_diagonal(x) + _off_diagonal(y),
        }


def _off_diagonal(x: Tensor) -> Tensor:
    """Sum of the squared off-diagonal entries of the covariance of (B, D), over D."""
    centred = x - x.mean(0)
    covariance = centred.T @ centred / (x.shape[0] - 1)
    return (covariance.square().sum() - covariance.diagonal().square().sum()) / x.shape[1]
