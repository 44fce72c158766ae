"""Pulling the two embeddings of a pair together: InfoNCE and cosine distance.

Shapes: a, b (B, R), row i of each from the same pair; they are normalised here. Where ranks share
a batch, InfoNCE is over all of it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from crbench.models.losses import across
from crbench.models.losses.precision import full


def infonce(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """Symmetric batch InfoNCE, a scalar ≥ 0; log B when all similarities are equal.

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
