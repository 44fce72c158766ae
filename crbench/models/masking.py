"""Random masks with an exact ratio, drawn per sample from (seed, epoch, key).

Shapes: keys (B,) int64; visible (B, T − M) and hidden (B, M) int64 token indices in [0, T).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from crbench.models.hashing import hashed
from crbench.seeds import derive


class Split(NamedTuple):
    """The tokens of each sample: those the model sees and those it predicts."""

    visible: Tensor
    hidden: Tensor


def masked_count(tokens: int, ratio: float) -> int:
    """Number of hidden tokens M: ``tokens · ratio`` to the nearest, at least 1, at most T − 1."""
    return min(max(1, int(tokens * ratio + 0.5)), tokens - 1)


def random_split(keys: Tensor, tokens: int, ratio: float, *seed: object) -> Split:
    """Hide ``ratio`` of the tokens of every sample, uniformly at random, each sample its own.

    ``seed`` names the draw, e.g. (run seed, epoch, modality). Every token gets the hash of
    (seed, key, index) as its rank; the lowest stay visible. Equal keys have equal splits.
    """
    index = torch.arange(tokens, device=keys.device)
    ranks = hashed(derive("random mask", *seed), keys.unsqueeze(1), index)
    order = ranks.argsort(dim=1, stable=True)
    seen = tokens - masked_count(tokens, ratio)
    return Split(order[:, :seen], order[:, seen:])
