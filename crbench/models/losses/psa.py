"""X-JEPA's PSA: a learned Mahalanobis distance between predicted and target tokens.

PSA = (1/M) Σ √((ẑ − z)ᵀ 𝐌 (ẑ − z)) over the M target tokens, with 𝐌 = L Lᵀ and L lower
triangular with a positive diagonal, so that 𝐌 is positive definite whatever the optimiser does.
The diagonal is normalised to det 𝐌 = 1: without a fixed scale the cheapest way to a smaller
loss is 𝐌 → 0, and the term would go silent. What is learned is the shape of the metric.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

FLOOR = 1e-12  # inside the root: √q has no finite slope at q = 0, √(q + FLOOR) has slope 0 in ẑ


class PSA(nn.Module):
    """The loss and its metric, for tokens of width D; starts as the Euclidean distance."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lower = nn.Parameter(torch.zeros(width, width))
        self.log_diagonal = nn.Parameter(torch.zeros(width))

    def factor(self) -> Tensor:
        """L (D, D): 𝐌 = L Lᵀ, det L = 1."""
        diagonal = (self.log_diagonal - self.log_diagonal.mean()).exp()
        return self.lower.tril(-1) + torch.diag(diagonal)

    def matrix(self) -> Tensor:
        """𝐌 (D, D), symmetric positive definite with determinant 1."""
        factor = self.factor()
        return factor @ factor.T

    def forward(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Mean distance of (…, D) to (…, D), a scalar ≥ 0 in at least fp32."""
        with torch.autocast(predicted.device.type, enabled=False):
            factor = self.factor()
            difference = predicted.to(factor.dtype) - target.to(factor.dtype)
            # (ẑ − z)ᵀ L Lᵀ (ẑ − z) = ‖Lᵀ (ẑ − z)‖², which rounding cannot make negative
            squared = (difference @ factor).square().sum(-1)
            return (squared + FLOOR).sqrt().mean()
