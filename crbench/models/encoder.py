"""The ViT encoder of REJEPA and X-JEPA: patch embeddings, fixed positions, trunk.

Shapes: images (B, C, S, S); tokens (B, T or K, D); pooled (B, D).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from crbench.cards import Strict
from crbench.models.ema import EMATable
from crbench.models.losses import full
from crbench.models.masking import Blocks, MaskTable
from crbench.models.vit import Stem, Trunk, ViTTable, gather, sincos_positions


class EncoderTable(ViTTable):
    """The keys of ``[model]`` that both methods share."""

    masks: MaskTable
    ema: EMATable

    @model_validator(mode="after")
    def _fits(self) -> EncoderTable:
        if self.masks.targets + self.masks.min_context > self.side**2:
            raise ValueError(
                f"masks.targets + masks.min_context exceed the {self.side**2} tokens of an image"
            )
        return self


class VICRegTable(Strict):
    """The keys of ``[loss]`` that both methods share: VICReg's weights and its hinge."""

    invariance: float = Field(ge=0)
    variance: float = Field(ge=0)
    covariance: float = Field(ge=0)
    hinge: float = Field(gt=0)


class Encoder(nn.Module):
    """One trunk behind a patch embedding per modality, with shared fixed sin-cos positions.

    ``counted``: positions are a frozen parameter, as in I-JEPA's code, so that budgets count
    them; otherwise a buffer that is not saved.
    """

    def __init__(self, channels: Mapping[str, int], table: EncoderTable, *, counted: bool) -> None:
        super().__init__()
        size, patch = table.image_size, table.patch_size
        self.stems = nn.ModuleDict(
            {m: Stem(bands, table.width, size, patch, "none") for m, bands in channels.items()}
        )
        positions = sincos_positions(table.side, table.width)
        if counted:
            self.positions = nn.Parameter(positions, requires_grad=False)
        else:
            self.register_buffer("positions", positions, persistent=False)
        self.trunk = Trunk(table.width, table.depth, table.num_heads, table.mlp_ratio)

    def forward(self, images: Tensor, modality: str, blocks: Blocks | None = None) -> Tensor:
        """All tokens (B, T, D), or those of the context (B, K, D), invalid ones included."""
        tokens = self.stems[modality](images) + self.positions
        if blocks is None:
            return self.trunk(tokens)
        return self.trunk(gather(tokens, blocks.context), blocks.attention)


def normalised(tokens: Tensor) -> Tensor:
    """Each token to mean 0 and variance 1 over its dimensions, without affine, fp32."""
    return F.layer_norm(full(tokens), tokens.shape[-1:])


def pool(tokens: Tensor, valid: Tensor | None = None) -> Tensor:
    """Mean over tokens (B, K, D) → (B, D) fp32, over those that are ``valid`` (B, K)."""
    if valid is None:
        return full(tokens).mean(1)
    weights = valid.unsqueeze(-1).to(full(tokens).dtype)
    return (full(tokens) * weights).sum(1) / weights.sum(1)
