"""X-JEPA: an encoder per modality, predicting each modality's embedding from the other's.

"X-JEPA", WACV 2026. A query of the other modality is searched with its *predicted* embedding:
the predictor runs from all of its tokens to all positions, and the result is compared with the
gallery's own encoder embeddings.

Shapes: images (B, C, S, S); context (B, K, D); targets (B, M, D), M over all target blocks.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Literal, cast

import torch
import torch.nn.functional as F
from pydantic import Field
from timm.layers import trunc_normal_
from torch import Tensor, nn

from crbench.cards import MethodCard
from crbench.models import encoder
from crbench.models.base import Batch, Method, Step, Tables
from crbench.models.encoder import Encoder, EncoderTable, VICRegTable, normalised, pool
from crbench.models.losses import PSA, prediction, vicreg
from crbench.models.masking import draw_blocks
from crbench.models.predictors import CrossBlock
from crbench.models.vit import gather, init_weights
from crbench.words import MODALITIES, Modality, Role

_OTHER: dict[Modality, Modality] = {"a": "b", "b": "a"}


class XJEPAModelTable(EncoderTable):
    """The ``[model]`` table.

    ``cross_context``: keys and values of the predictor's cross-attention are the tokens of the
    ``query`` modality, or literally those of the ``target`` modality, which a query does not
    have: then its own stand in for them at search time.
    ``retrieval``: a cross-modal query is the ``predicted`` embedding of the other modality, or
    its own ``encoder`` embedding. ``weights``: which encoders embed.
    """

    cross_context: Literal["query", "target"]
    retrieval: Literal["predicted", "encoder"]
    weights: Literal["online", "ema"]


class XJEPALossTable(VICRegTable):
    """The ``[loss]`` table: weights of the terms."""

    l2: float = Field(ge=0)
    psa: float = Field(ge=0)


class CrossPredictor(nn.Module):
    """``depth`` blocks from the tokens of one modality to target tokens of the other.

    The paper's equations are one block: h1 = SelfAttn([s; z]) + [s; z], h2 = CrossAttn(h1) + h1,
    output = MLP(h2) + mask token at the query slots. Further blocks in front of it have the
    usual residual around their MLP.
    """

    def __init__(self, table: XJEPAModelTable) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            CrossBlock(table.width, table.num_heads, table.mlp_ratio)
            for _ in range(table.predictor_depth)
        )
        self.mask_token = nn.Parameter(torch.empty(1, 1, table.width))
        init_weights(self)
        trunc_normal_(self.mask_token, std=0.02)

    def forward(
        self, queries: Tensor, tokens: Tensor, context: Tensor, valid: Tensor | None = None
    ) -> Tensor:
        """Queries (B, M, D) and tokens (B, K, D) of the query modality → predictions (B, M, D).

        ``context`` (B, K, D): keys and values of the cross-attention. ``valid`` (B, K) bool
        says which entries of both are real; all are where it is None.
        """
        x, slots = torch.cat([queries, tokens], 1), queries.shape[1]
        mask = context_mask = None
        if valid is not None:
            context_mask = valid[:, None, None, :]
            mask = F.pad(context_mask, (slots, 0), value=True)
        out = queries
        for block in self.blocks:
            last = block is self.blocks[-1]
            x, out = block(x, context, mask, context_mask, slots if last else None)
            x = x + out
        return out + self.mask_token


class XJEPA(Method):
    """Two encoders, their moving averages as target encoders, two predictors, shared queries."""

    Config = Tables[XJEPAModelTable, XJEPALossTable]

    def __init__(self, card: MethodCard, bands: Mapping[str, int]) -> None:
        super().__init__(card, bands)
        table = self.config.model
        self.encoders = nn.ModuleDict(
            {m: Encoder({m: bands[m]}, table, counted=False) for m in MODALITIES}
        )
        self.targets = copy.deepcopy(self.encoders).requires_grad_(False)
        self.predictors = nn.ModuleDict({m: CrossPredictor(table) for m in MODALITIES})
        self.query = nn.Parameter(torch.empty(1, 1, table.width))
        trunc_normal_(self.query, std=0.02)
        self.psa = PSA(table.width)

    # ------------------------------------------------------------------ training

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """λ_l2 L2 + λ_psa PSA + VICReg; every term is the mean over a→b and b→a.

        One mask serves both modalities of a pair, so that the targets of one are at positions
        that are hidden in the other's context too.
        """
        table, weights = self.config.model, self.config.loss
        blocks = draw_blocks(table.masks, table.side, batch["keys"], step)
        hidden = blocks.targets.flatten(1)
        context = {m: self.encoders[m](batch[m], m, blocks) for m in MODALITIES}
        with torch.no_grad():
            targets = {
                m: gather(normalised(self.targets[m](batch[m], m)), hidden) for m in MODALITIES
            }
        sides = []
        for source, goal in _OTHER.items():
            other = source if table.cross_context == "query" else goal
            tokens = self._queries(hidden), context[source], context[other]
            predicted = self.predictors[source](*tokens, blocks.valid)
            # pooled first, in this order: gradients add up in it, and training amplifies rounding
            pooled = (
                pool(normalised(predicted)),
                pool(normalised(context[goal]), blocks.valid),
            )
            terms = {
                "l2": prediction(predicted, targets[goal]),
                "psa": self.psa(predicted, targets[goal]),
            }
            sides.append(terms | vicreg(*pooled, hinge=weights.hinge))
        return dict(weights.total(sides))

    def _queries(self, positions: Tensor) -> Tensor:
        """The shared learned query at each target position (B, M) → (B, M, D)."""
        return self.query + gather(cast(Tensor, self.encoders["a"].positions), positions)

    def after_step(self, step: Step) -> None:
        """Move the target encoders towards the encoders."""
        encoder.follow(self.targets, self.encoders, self.config.model.ema, step)

    # ------------------------------------------------------------------ retrieval

    def embed(self, images: Tensor, modality: Modality) -> dict[str, Tensor]:
        """``encoder``: layer-normalised tokens, pooled; ``predicted``: the same of the tokens
        that the predictor gives for the other modality; both (B, D) float32."""
        table = self.config.model
        encoders = self.encoders if table.weights == "online" else self.targets
        tokens = encoders[modality](images, modality)
        views = {"encoder": pool(normalised(tokens))}
        if table.retrieval == "predicted":
            queries = self._queries(torch.arange(table.side**2, device=images.device)[None])
            queries = queries.expand(len(images), -1, -1)
            predicted = self.predictors[modality](queries, tokens, tokens)
            views["predicted"] = pool(normalised(predicted))
        return {name: value.float() for name, value in views.items()}

    def view(self, modality: Modality, direction: str, role: Role) -> str:
        """``predicted`` for the query of a cross-modal direction, where the card says so."""
        crosses = direction[0] != direction[1]
        return self.config.model.retrieval if crosses and role == "query" else "encoder"

    # ------------------------------------------------------------------ accounts

    def parts(self) -> dict[str, nn.Module | list[nn.Module]]:
        """Encoders, target encoders and predictors per modality, and the learned metric."""
        groups = {"encoders": self.encoders, "targets": self.targets, "predictors": self.predictors}
        parts = {f"{name}.{m}": group[m] for name, group in groups.items() for m in MODALITIES}
        return {**parts, "psa": self.psa}

    def inference_parameters(self) -> Iterator[nn.Parameter]:
        """The encoders that embed, and the predictors and query where they serve."""
        table = self.config.model
        used = self.encoders if table.weights == "online" else self.targets
        served = (self.predictors.parameters(), [self.query])
        return chain(used.parameters(), *(served if table.retrieval == "predicted" else ()))
