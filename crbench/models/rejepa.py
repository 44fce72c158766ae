"""REJEPA: I-JEPA with multi-block masks, regularised by VICReg; one model, no cross-modal loss.

Choudhury et al., "REJEPA: A novel joint-embedding predictive architecture for efficient remote
sensing image retrieval", CVPR workshops 2025 (arXiv 2504.03169); masks, targets and predictor as
I-JEPA (Assran et al., arXiv 2301.08243). Across modalities it is scored as it is: both sides'
embeddings in one space, which nothing aligned.

Shapes: images (B, C, S, S); tokens (B, K, D); targets (B, blocks, M, D).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from timm.layers import trunc_normal_
from torch import Tensor, nn

from crbench.cards import MethodCard
from crbench.errors import UserError
from crbench.models import encoder
from crbench.models.base import Batch, Method, Step, Tables
from crbench.models.encoder import Encoder, EncoderTable, VICRegTable, normalised, pool
from crbench.models.losses import full, vicreg
from crbench.models.masking import Blocks, draw_blocks
from crbench.models.vit import Trunk, gather, init_weights, sincos_positions
from crbench.words import DIRECTIONS, Modality, Role


class REJEPAModelTable(EncoderTable):
    """The ``[model]`` table."""

    modalities: Literal["ab", "a", "b"]
    predictor_width: int = Field(gt=0, multiple_of=4)
    predictor_heads: int = Field(gt=0)


class REJEPALossTable(VICRegTable):
    """The ``[loss]`` table: weights of the terms. ``paired`` is no part of REJEPA: it ties what is
    predicted of a pair's two images, in the form that other papers compare across sensors."""

    pred: float = Field(ge=0)
    paired: float = Field(default=0.0, ge=0)


class BlockPredictor(nn.Module):
    """A narrow ViT: context tokens and one mask token per target, each block by itself."""

    def __init__(self, table: REJEPAModelTable) -> None:
        super().__init__()
        inner = table.predictor_width
        self.enter = nn.Linear(table.width, inner)
        self.mask_token = nn.Parameter(torch.empty(1, 1, inner))
        self.positions = nn.Parameter(sincos_positions(table.side, inner), requires_grad=False)
        self.trunk = Trunk(inner, table.predictor_depth, table.predictor_heads, table.mlp_ratio)
        self.leave = nn.Linear(inner, table.width)
        init_weights(self)
        trunc_normal_(self.mask_token, std=0.02)

    def forward(self, context: Tensor, blocks: Blocks) -> Tensor:
        """Context (B, K, D) → predicted tokens (B, blocks, M, D)."""
        count, (batch, length) = blocks.targets.shape[1], blocks.context.shape
        context = self.enter(context) + gather(self.positions, blocks.context)
        queries = self.mask_token + gather(self.positions, blocks.targets.flatten(0, 1))
        # blocks do not see each other: each is a sequence of its own, in one batch
        tokens = torch.cat([context.repeat_interleave(count, 0), queries], 1)
        valid = F.pad(blocks.valid, (0, queries.shape[1]), value=True)
        mask = valid.repeat_interleave(count, 0)[:, None, None, :]
        predicted = self.leave(self.trunk(tokens, mask)[:, length:])
        return predicted.unflatten(0, (batch, count))


class REJEPA(Method):
    """Context encoder, its moving average as target encoder, predictor."""

    Config = Tables[REJEPAModelTable, REJEPALossTable]

    def __init__(self, card: MethodCard, bands: Mapping[str, int]) -> None:
        super().__init__(card, bands)
        table = self.config.model
        self.directions = tuple(d for d in DIRECTIONS if set(d) <= set(table.modalities))
        if self.config.loss.paired and len(table.modalities) < 2:
            raise UserError(
                "a pair has two modalities, and this model sees one",
                where=f"method card '{card.name}', loss.paired",
                fix="take model.modalities = 'ab' or loss.paired = 0",
            )
        self.context = Encoder({m: bands[m] for m in table.modalities}, table, counted=True)
        self.target = copy.deepcopy(self.context).requires_grad_(False)
        self.predictor = BlockPredictor(table)

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """Weighted smooth-L1 and VICReg; every term is the mean over the modalities. With
        ``paired``, the invariance of VICReg between the pooled predictions of a pair's images."""
        sides, pooled = zip(
            *(self._terms(batch, m, step) for m in self.config.model.modalities), strict=True
        )
        if self.config.loss.paired:
            paired = F.mse_loss(full(pooled[0]), full(pooled[1]))
            sides = tuple(terms | {"paired": paired} for terms in sides)
        return dict(self.config.loss.total(sides))

    def _terms(self, batch: Batch, modality: str, step: Step) -> tuple[dict[str, Tensor], Tensor]:
        """Terms of one modality, and its pooled predictions (B, D)."""
        table, images = self.config.model, batch[modality]
        # a pair's images have masks of their own
        blocks = draw_blocks(table.masks, table.side, batch["keys"], step, stream=modality)
        with torch.no_grad():
            target = normalised(self.target(images, modality))
            target = gather(target, blocks.targets.flatten(1)).view(*blocks.targets.shape, -1)
        context = self.context(images, modality, blocks)
        predicted = self.predictor(context, blocks)
        pooled = pool(context, blocks.valid), pool(predicted.flatten(1, 2))
        terms = {
            "pred": F.smooth_l1_loss(full(predicted), target),
            **vicreg(*pooled, hinge=self.config.loss.hinge),
        }
        return terms, pooled[1]

    def after_step(self, step: Step) -> None:
        """Move the target encoder towards the context encoder."""
        encoder.follow(self.target, self.context, self.config.model.ema, step)

    def embed(self, images: Tensor, modality: Modality) -> dict[str, Tensor]:
        """``encoder``: mean of the target encoder's tokens, (B, D) float32."""
        if modality not in self.target.stems:
            raise UserError(
                f"this model was built for modality '{self.config.model.modalities}' alone",
                where=f"method card '{self.card.name}', model.modalities",
                fix="train with modalities = 'ab' to score all four directions",
            )
        return {"encoder": pool(self.target(images, modality)).float()}

    def view(self, modality: Modality, direction: str, role: Role) -> str:
        """One embedding serves everything."""
        return "encoder"

    def inference_parameters(self) -> Iterator[nn.Parameter]:
        """The target encoder's."""
        return self.target.parameters()
