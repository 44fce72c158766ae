"""SIGReg: projections along random directions are to look standard normal.

Shapes: projections r (…, B, R) raw, never normalised; directions u (J, R) of unit length.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from crbench.models.hashing import normal
from crbench.models.losses import across
from crbench.models.losses.precision import full
from crbench.seeds import derive

T_MAX = 3.0


def directions(
    count: int, width: int, *seed: object, device: torch.device | str | None = None
) -> Tensor:
    """``count`` unit vectors (J, R), float32, from the seed's names alone: equal on all ranks."""
    drawn = normal(derive("sigreg directions", *seed), count, width, device=device)
    return F.normalize(drawn, dim=1)


def sigreg(projections: Tensor, u: Tensor, knots: int = 17) -> Tensor:
    """SIGReg of each (B, R) matrix in ``projections`` (…, B, R) → (…).

    SIGReg(r) = (B/J) Σ_j Σ_k w_k [ (mean_i cos(t_k s_ij) − φ_k)² + (mean_i sin(t_k s_ij))² ]
    with s = r·u_j, t_k = kΔ on [0, 3], Δ = 3/(K−1), φ_k = exp(−t_k²/2),
    w_k = 2Δφ_k inside and Δφ_k at both ends (the trapezoid, doubled for the negative half).

    About 1.05 on standard normal samples whatever B, 0.402·B on zeros (K = 17): the factor B
    makes it a test statistic, so its weight in a loss depends on the batch size.
    CR-JEPA, equations 13 to 15; Balestriero and LeCun, LeJEPA, arXiv 2511.08544.
    """
    r = full(projections)
    with torch.autocast(r.device.type, enabled=False):
        t = torch.linspace(0, T_MAX, knots, device=r.device, dtype=r.dtype)
        phi = (-t.square() / 2).exp()
        weights = phi * (2 * T_MAX / (knots - 1))
        weights[0] /= 2
        weights[-1] /= 2
        angles = (r @ u.to(r.dtype).T).unsqueeze(-1) * t  # (…, B, J, K)
        # the characteristic function is a mean over samples: ranks average it, B is the sum
        real, imaginary = (across.averaged(f.mean(-3)) for f in (angles.cos(), angles.sin()))
        gaps = (real - phi).square() + imaginary.square()  # (…, J, K)
        return across.size() * r.shape[-2] * (gaps @ weights).mean(-1)
