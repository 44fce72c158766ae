"""Latent prediction: predicted against encoded tokens.

Shapes: predicted, target (B, M, D).
"""

from __future__ import annotations

from torch import Tensor

from crbench.models.losses.precision import full


def prediction(predicted: Tensor, target: Tensor) -> Tensor:
    """‖ẑ − z‖² as the mean over samples, tokens and dimensions, a scalar ≥ 0.

    CR-JEPA, equation 8, for one route; the target is detached by the caller, or not.
    """
    return (full(predicted) - full(target)).square().mean()
