"""Losses, each beside its formula: prediction, InfoNCE, SIGReg, VICReg and PSA.

All are computed in fp32 also under mixed precision, and in float64 when given it (:func:`full`).
Those over a whole batch are over that of all ranks (see ``across``).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crbench.models import across
from crbench.models.hashing import normal
from crbench.seeds import derive

_T_MAX = 3.0  # SIGReg's last knot
_VARIANCE_FLOOR = 1e-4  # inside VICReg's root, so that a dead dimension has a finite gradient
_ROOT_FLOOR = 1e-12  # inside PSA's root: √q has no finite slope at q = 0, √(q + floor) slope 0 in ẑ


def full(x: Tensor) -> Tensor:
    """``x`` in at least fp32: half precision is widened, float64 stays."""
    return x if x.dtype == torch.float64 else x.float()


def prediction(predicted: Tensor, target: Tensor) -> Tensor:
    """‖ẑ − z‖² as the mean over samples, tokens and dimensions, a scalar ≥ 0; both (B, M, D).

    CR-JEPA, equation 8, for one route; the target is detached by the caller, or not.
    """
    return (full(predicted) - full(target)).square().mean()


def infonce(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """Symmetric batch InfoNCE, a scalar ≥ 0; log B when all similarities are equal.

    a, b (B, R), row i of each from the same pair; they are normalised here. Where ranks share a
    batch, it is over all of it.

    NCE(a, b) = ½ [ CE(s, i) + CE(sᵀ, i) ],  s_ij = cos(a_i, b_j) / τ,  τ > 0
    CR-JEPA, equations 17 and 18; van den Oord et al., arXiv 1807.03748, in CLIP's symmetric form.
    """
    a, b = full(a), full(b)
    with torch.autocast(a.device.type, enabled=False):
        a, b = across.gathered(F.normalize(a, dim=1)), across.gathered(F.normalize(b, dim=1))
        logits = a @ b.T / temperature
        own = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2


def cosine_distance(a: Tensor, b: Tensor) -> Tensor:
    """mean_i (1 − cos(a_i, b_i)), a scalar in [0, 2] (CR-JEPA, second term of equation 18)."""
    return (1 - F.cosine_similarity(full(a), full(b), dim=1)).mean()


def directions(
    count: int, width: int, *seed: object, device: torch.device | str | None = None
) -> Tensor:
    """``count`` unit vectors (J, R), float32, from the seed's names alone: equal on all ranks."""
    drawn = normal(derive("sigreg directions", *seed), count, width, device=device)
    return F.normalize(drawn, dim=1)


def sigreg(projections: Tensor, u: Tensor, knots: int = 17) -> Tensor:
    """SIGReg of each (B, R) matrix in ``projections`` (…, B, R), raw, never normalised → (…): along
    random unit directions ``u`` (J, R) they are to look standard normal.

    SIGReg(r) = (B/J) Σ_j Σ_k w_k [ (mean_i cos(t_k s_ij) − φ_k)² + (mean_i sin(t_k s_ij))² ]
    with s = r·u_j, t_k = kΔ on [0, 3], Δ = 3/(K−1), φ_k = exp(−t_k²/2),
    w_k = 2Δφ_k inside and Δφ_k at both ends (the trapezoid, doubled for the negative half).

    About 1.05 on standard normal samples whatever B, 0.402·B on zeros (K = 17): the factor B
    makes it a test statistic, so its weight in a loss depends on the batch size.
    CR-JEPA, equations 13 to 15; Balestriero and LeCun, LeJEPA, arXiv 2511.08544.
    """
    r = full(projections)
    with torch.autocast(r.device.type, enabled=False):
        t = torch.linspace(0, _T_MAX, knots, device=r.device, dtype=r.dtype)
        phi = (-t.square() / 2).exp()
        weights = phi * (2 * _T_MAX / (knots - 1))
        weights[0] /= 2
        weights[-1] /= 2
        angles = (r @ u.to(r.dtype).T).unsqueeze(-1) * t  # (…, B, J, K)
        # the characteristic function is a mean over samples: ranks average it, B is the sum
        real, imaginary = (across.averaged(f.mean(-3)) for f in (angles.cos(), angles.sin()))
        gaps = (real - phi).square() + imaginary.square()  # (…, J, K)
        return across.size() * r.shape[-2] * (gaps @ weights).mean(-1)


def vicreg(x: Tensor, y: Tensor, *, hinge: float = 1.0) -> dict[str, Tensor]:
    """VICReg's three terms, unweighted, for embeddings ``x`` and ``y`` (B, D) of the same items.

    ``invariance``: mean squared difference. ``variance``: mean over dimensions and sides of
    max(0, hinge − std), 0 where every dimension spreads by ``hinge`` or more, ``hinge`` where
    all is collapsed. ``covariance``: squared off-diagonal covariances, summed, over D.
    Scalars ≥ 0, computed in at least fp32; the standard deviations need B ≥ 2. Where ranks share
    a batch, all three are over all of it.
    Bardes, Ponce and LeCun 2022 (arXiv 2105.04906), equations 1 to 6, with the scaling of its code:
    the variance hinge is the mean of the two sides, the covariance term their sum.
    """
    with torch.autocast(x.device.type, enabled=False):
        x, y = (across.gathered(full(side)) for side in (x, y))
        spreads = [F.relu(hinge - (side.var(0) + _VARIANCE_FLOOR).sqrt()).mean() for side in (x, y)]
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


class PSA(nn.Module):
    """X-JEPA's PSA: a learned Mahalanobis distance between predicted and target tokens.

    PSA = (1/M) Σ √((ẑ − z)ᵀ 𝐌 (ẑ − z)) over the M target tokens of width D, with 𝐌 = L Lᵀ and L
    lower triangular with a positive diagonal, so that 𝐌 is positive definite whatever the optimiser
    does; it starts as the Euclidean distance. The diagonal is normalised to det 𝐌 = 1: without a
    fixed scale the cheapest way to a smaller loss is 𝐌 → 0, and the term would go silent. What is
    learned is the shape of the metric.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lower = nn.Parameter(torch.zeros(width, width))
        self.log_diagonal = nn.Parameter(torch.zeros(width))

    def factor(self) -> Tensor:
        """L (D, D), lower triangular with a positive diagonal, det L = 1."""
        diagonal = (self.log_diagonal - self.log_diagonal.mean()).exp()
        return self.lower.tril(-1) + torch.diag(diagonal)

    def forward(self, predicted: Tensor, target: Tensor) -> Tensor:
        """Mean distance of (…, D) to (…, D), a scalar ≥ 0 in at least fp32."""
        with torch.autocast(predicted.device.type, enabled=False):
            factor = self.factor()
            difference = predicted.to(factor.dtype) - target.to(factor.dtype)
            # (ẑ − z)ᵀ L Lᵀ (ẑ − z) = ‖Lᵀ (ẑ − z)‖², which rounding cannot make negative
            squared = (difference @ factor).square().sum(-1)
            return (squared + _ROOT_FLOOR).sqrt().mean()
