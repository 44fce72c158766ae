"""The transformer parts that all methods share, on timm's blocks.

Shapes: images (B, C, S, S), tokens (B, T, D) with T = (S / patch)², token indices (B, K) int64.
"""

from __future__ import annotations

from functools import partial
from typing import Literal, cast

import torch
from pydantic import Field, model_validator
from timm.layers import PatchEmbed, build_sincos2d_pos_embed, trunc_normal_
from timm.models.vision_transformer import Block
from torch import Tensor, nn

from crbench.cards import Strict

LayerNorm = partial(nn.LayerNorm, eps=1e-6)
_STD = 0.02  # of linear layers at the start
_GELU_SQUARE = 0.42522  # E[gelu(x)²] of a standard normal x


class ViTTable(Strict):
    """Keys of ``[model]`` that every transformer has: input side and patch in pixels, its shape."""

    image_size: int = Field(gt=0)
    patch_size: int = Field(gt=0)
    width: int = Field(gt=0, multiple_of=4)
    depth: int = Field(gt=0)
    num_heads: int = Field(gt=0)
    mlp_ratio: float = Field(gt=0)
    predictor_depth: int = Field(gt=0)

    @property
    def side(self) -> int:
        """Patches along one side of the image."""
        return self.image_size // self.patch_size

    @model_validator(mode="after")
    def _divides(self) -> ViTTable:
        if self.image_size % self.patch_size:
            raise ValueError("image_size must be a multiple of patch_size")
        if self.width % self.num_heads:
            raise ValueError("width must be a multiple of num_heads")
        return self


class Stem(nn.Module):
    """Patch embedding (C → D) plus positions: learned, fixed sin-cos, or none of its own."""

    def __init__(
        self,
        channels: int,
        width: int,
        image_size: int,
        patch_size: int,
        positions: Literal["learned", "sincos", "none"] = "learned",
    ) -> None:
        super().__init__()
        self.patches = PatchEmbed(image_size, patch_size, channels, width)
        side = image_size // patch_size
        self.positions: nn.Parameter | None = None
        if positions == "learned":
            self.positions = nn.Parameter(torch.empty(1, side * side, width))
        elif positions == "sincos":  # counted as a parameter, as in I-JEPA's code, never trained
            self.positions = nn.Parameter(sincos_positions(side, width), requires_grad=False)
        nn.init.xavier_uniform_(self.patches.proj.weight.view(width, -1))
        nn.init.zeros_(self.patches.proj.bias)
        if positions == "learned":
            trunc_normal_(self.positions, std=0.02)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, S, S) → (B, T, D)."""
        tokens = self.patches(images)
        return tokens if self.positions is None else tokens + self.positions


class Trunk(nn.Module):
    """``depth`` pre-norm transformer blocks and a final norm: (B, K, D) → (B, K, D).

    ``mask`` (broadcast to (B, heads, K, K), true = attend) leaves out filled-up tokens.
    """

    def __init__(self, width: int, depth: int, heads: int, mlp_ratio: float = 4.0) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(width, heads, mlp_ratio, qkv_bias=True, norm_layer=LayerNorm)
            for _ in range(depth)
        )
        self.norm = LayerNorm(width)
        init_weights(self)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        for block in self.blocks:
            tokens = block(tokens, attn_mask=mask)
        return self.norm(tokens)


def retrieval_head(
    width: int, hidden: int, retrieval_dim: int, init: Literal["small", "unit"] = "small"
) -> nn.Sequential:
    """Linear → LayerNorm → GELU → Linear, (B, width) → (B, retrieval_dim).

    ``init``: weights of std 0.02, so that projections start near zero, where SIGReg has almost no
    slope; or the last layer scaled so that they start with a mean square of 1.

    The published budget holds a norm of 2 · hidden parameters; a layer norm, not a batch norm,
    which would tie the result to the number of ranks.
    """
    head = nn.Sequential(
        nn.Linear(width, hidden), LayerNorm(hidden), nn.GELU(), nn.Linear(hidden, retrieval_dim)
    )
    init_weights(head)
    if init == "unit":  # behind the norm each of the hidden inputs is about normal
        with torch.no_grad():
            cast(nn.Linear, head[3]).weight /= _STD * (_GELU_SQUARE * hidden) ** 0.5
    return head


def gather(tokens: Tensor, indices: Tensor) -> Tensor:
    """Tokens (B or 1, T, D) at ``indices`` (B, K) → (B, K, D)."""
    if tokens.shape[0] == 1 and indices.shape[0] != 1:
        tokens = tokens.expand(indices.shape[0], -1, -1)
    return tokens.gather(1, indices.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def sincos_positions(side: int, width: int) -> Tensor:
    """Fixed 2-D sin-cos positions (1, side², width)."""
    return build_sincos2d_pos_embed([side, side], width, interleave_sin_cos=False)[None].float()


def init_weights(module: nn.Module) -> None:
    """Truncated normal of std 0.02 for linear layers, zero biases; norms are 1 as they come."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            trunc_normal_(part.weight, std=_STD)
            nn.init.zeros_(part.bias)
