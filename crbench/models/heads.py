"""Retrieval heads: a pooled image feature (B, D) to a raw projection (B, R)."""

from __future__ import annotations

from torch import nn

from crbench.models.vit import LayerNorm, init_weights


def retrieval_head(width: int, hidden: int, retrieval_dim: int) -> nn.Sequential:
    """Linear → LayerNorm → GELU → Linear, (B, width) → (B, retrieval_dim).

    The published budget holds a norm of 2 · hidden parameters; a layer norm, not a batch norm,
    which would tie the result to the number of ranks.
    """
    head = nn.Sequential(
        nn.Linear(width, hidden), LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, retrieval_dim)
    )
    init_weights(head)
    return head
