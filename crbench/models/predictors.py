"""Predictors: what the hidden tokens of one modality look like, given visible tokens of another.

Shapes: context (B, V, D), positions of the targets (B, M, D), prediction (B, M, D). A route is
named by two letters, context first: ``ab`` predicts b from a.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.layers import Attention, Mlp, trunc_normal_
from torch import Tensor, nn

from crbench.models.vit import LayerNorm, init_weights

# sharing strategy -> route -> the predictor that serves it (CR-JEPA, table S3)
SHARING: dict[str, dict[str, str]] = {
    "independent": {"aa": "aa", "bb": "bb", "ab": "ab", "ba": "ba"},
    "same+cross": {"aa": "same", "bb": "same", "ab": "cross", "ba": "cross"},
    "one": {"aa": "all", "bb": "all", "ab": "all", "ba": "all"},
    "same+own-cross": {"aa": "same", "bb": "same", "ab": "ab", "ba": "ba"},
    "own-same+cross": {"aa": "aa", "bb": "bb", "ab": "cross", "ba": "cross"},
}


class CrossAttention(nn.Module):
    """Multi-head attention from queries (B, M, D) to context (B, V, D), with qkv bias.

    ``mask`` (broadcast to (B, heads, M, V), true = attend) leaves out filled-up context.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width)
        self.kv = nn.Linear(width, 2 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, queries: Tensor, context: Tensor, mask: Tensor | None = None) -> Tensor:
        q = self.q(queries).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        k, v = self.kv(context).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.proj(attended.transpose(1, 2).flatten(2))


class CrossBlock(nn.Module):
    """Self-attention among the queries, cross-attention to a context, both with a residual; then an
    MLP, whose residual is the caller's to add. All pre-norm."""

    def __init__(self, width: int, heads: int, mlp_ratio: float) -> None:
        super().__init__()
        self.norm_self, self.norm_query = LayerNorm(width), LayerNorm(width)
        self.norm_context, self.norm_mlp = LayerNorm(width), LayerNorm(width)
        self.self_attention = Attention(width, heads, qkv_bias=True)
        self.cross_attention = CrossAttention(width, heads)
        self.mlp = Mlp(width, int(width * mlp_ratio))

    def forward(
        self,
        x: Tensor,
        context: Tensor,
        mask: Tensor | None = None,
        context_mask: Tensor | None = None,
        slots: int | None = None,
    ) -> tuple[Tensor, Tensor]:
        """h and MLP(h), h what the first ``slots`` tokens (None: all) of ``x`` attend to.

        ``mask`` and ``context_mask`` (true = attend) are those of the self- and cross-attention.
        """
        x = (x + self.self_attention(self.norm_self(x), attn_mask=mask))[:, :slots]
        query, context = self.norm_query(x), self.norm_context(context)
        x = x + self.cross_attention(query, context, context_mask)
        return x, self.mlp(self.norm_mlp(x))


class Predictor(nn.Module):
    """A mask query per target, placed by the target's position, refined over ``depth`` blocks."""

    def __init__(self, width: int, depth: int, heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.empty(1, 1, width))
        self.blocks = nn.ModuleList(CrossBlock(width, heads, mlp_ratio) for _ in range(depth))
        self.norm = LayerNorm(width)
        self.proj = nn.Linear(width, width)
        init_weights(self)
        trunc_normal_(self.query, std=0.02)

    def forward(self, context: Tensor, positions: Tensor) -> Tensor:
        """Context (B, V, D) and target positions (B, M, D) → predicted tokens (B, M, D)."""
        x = self.query + positions
        for block in self.blocks:
            attended, refined = block(x, context)
            x = attended + refined
        return self.proj(self.norm(x))


def predict(
    predictors: nn.ModuleDict,
    serves: dict[str, str],
    contexts: dict[str, Tensor],
    positions: dict[str, Tensor],
) -> dict[str, Tensor]:
    """The prediction of every route in ``serves`` (route → predictor), each (B, M, D).

    ``contexts`` and ``positions`` are by modality. Routes of one predictor go through it as one
    batch: they have equal lengths, since the mask ratio is one for both modalities.
    """
    predicted: dict[str, Tensor] = {}
    for name in dict.fromkeys(serves.values()):
        routes = [route for route in serves if serves[route] == name]
        context = torch.cat([contexts[route[0]] for route in routes])
        wanted = torch.cat([positions[route[1]] for route in routes])
        predicted |= zip(routes, predictors[name](context, wanted).chunk(len(routes)), strict=True)
    return predicted
