"""What REJEPA and X-JEPA share: a ViT encoder, its slowly moving copy as a target, VICReg's terms.

Shapes: images (B, C, S, S); tokens (B, T or K, D); pooled (B, D).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from crbench.cards import Strict
from crbench.models.base import Step
from crbench.models.losses import full
from crbench.models.masking import Blocks, MaskTable
from crbench.models.vit import Stem, Trunk, ViTTable, gather, sincos_positions


class EMATable(Strict):
    """Momentum of the moving average: ``start`` at the first step, linearly to ``end``."""

    start: float = Field(0.996, ge=0, le=1)
    end: float = Field(1.0, ge=0, le=1)


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

    def total(self, sides: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """What ``Method.loss`` returns, of terms that are means over ``sides``, e.g. modalities."""
        means = {name: torch.stack([side[name] for side in sides]).mean() for name in sides[0]}
        total = torch.stack([getattr(self, name) * value for name, value in means.items()])
        return {"loss": total.sum(), **means}


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


@torch.no_grad()
def follow(target: nn.Module, online: nn.Module, table: EMATable, step: Step) -> None:
    """target ← m · target + (1 − m) · online, for all parameters in one fused pass, with the
    momentum m of the step (I-JEPA: 0.996 → 1.0, linear)."""
    momentum = table.start + (table.end - table.start) * step.progress
    get_ema_multi_avg_fn(momentum)(list(target.parameters()), list(online.parameters()), 0)
