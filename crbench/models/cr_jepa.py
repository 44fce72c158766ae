"""CR-JEPA: stems, a shared trunk, latent prediction within and across modalities, two heads.

Hossain et al., "CR-JEPA: Cross-Modal Joint-Embedding Predictive Learning for Remote Sensing Image
Retrieval". Each ablation of the paper is a change of card keys; what they choose is in ``Config``.

Shapes: images (B, C, S, S); tokens (B, T, D); visible, hidden (B, K) indices; views (B, R).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Literal, cast

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from crbench.cards import MethodCard, Strict
from crbench.models.base import Batch, Method, Step, Tables
from crbench.models.losses import cosine_distance, directions, infonce, prediction, sigreg
from crbench.models.masking import Split, random_split
from crbench.models.predictors import SHARING, Predictor, predict
from crbench.models.vit import Stem, Trunk, ViTTable, gather, retrieval_head
from crbench.words import DIRECTIONS, MODALITIES, Modality, Role

# which head serves a kind of direction: the first of these that a retrieval loss trains, else the
# first that is there. So a head that alone is trained serves all four, and per-modality heads,
# whose spaces are not aligned, serve across modalities only where there is nothing else.
_PREFERRED = {"same": ("same", "uni", "cross"), "cross": ("cross", "uni", "same")}


class Routes(Strict):
    """λ of each prediction route, context first; 0 switches it off."""

    aa: float = Field(ge=0)
    bb: float = Field(ge=0)
    ab: float = Field(ge=0)
    ba: float = Field(ge=0)


class CRJEPAModelTable(ViTTable):
    """The ``[model]`` table."""

    encoder: Literal["shared", "dual"]
    predictor_sharing: Literal[
        "independent", "same+cross", "one", "same+own-cross", "own-same+cross"
    ]
    retrieval_heads: tuple[Literal["same", "cross", "uni"], ...] = Field(min_length=1)
    head_hidden: int = Field(gt=0)
    retrieval_dim: int = Field(gt=0)
    head_init: Literal["small", "unit"] = "small"
    mask_ratio: float = Field(gt=0, lt=1)
    mask_pairing: Literal["independent", "shared"]

    @model_validator(mode="after")
    def _fits(self) -> CRJEPAModelTable:
        if self.side < 2:
            raise ValueError("image_size must be at least twice patch_size")
        if len(set(self.retrieval_heads)) != len(self.retrieval_heads):
            raise ValueError("retrieval_heads repeat")
        return self


class CRJEPALossTable(Strict):
    """The ``[loss]`` table: weights λ, 0 switches a term off."""

    pred: float = Field(ge=0)
    routes: Routes
    targets: Literal["detached", "live"]
    cross: float = Field(ge=0)
    uni: float = Field(ge=0)
    same: float = Field(ge=0)
    sig: float = Field(ge=0)
    sig_pair: float = Field(ge=0)
    temperature: float = Field(gt=0)
    sig_directions: int = Field(gt=0)
    sig_knots: int = Field(gt=1)


class CRJEPAConfig(Tables[CRJEPAModelTable, CRJEPALossTable]):
    """The card's two tables, and what they must agree on."""

    @model_validator(mode="after")
    def _agree(self) -> CRJEPAConfig:
        for head in ("same", "cross", "uni"):
            if getattr(self.loss, head) and head not in self.model.retrieval_heads:
                raise ValueError(f"loss.{head} needs '{head}' in model.retrieval_heads, or to be 0")
        if self.loss.sig_pair and set(self.model.retrieval_heads) == {"same"}:
            raise ValueError("loss.sig_pair needs a head that both modalities share")
        routes = self.loss.routes.model_dump().values()
        others = (self.loss.cross, self.loss.uni, self.loss.same, self.loss.sig)
        if not any((self.loss.pred and any(routes), self.loss.sig_pair, *others)):
            raise ValueError("every loss is switched off")
        return self


class CRJEPA(Method):
    """Stems, trunk(s), predictors and heads as the card's keys choose them."""

    Config = CRJEPAConfig

    def __init__(self, card: MethodCard, bands: Mapping[str, int]) -> None:
        super().__init__(card, bands)
        m, loss = self.config.model, self.config.loss
        positions: Literal["learned", "sincos"] = "learned" if m.encoder == "shared" else "sincos"
        self.stems = nn.ModuleDict(
            {x: Stem(bands[x], m.width, m.image_size, m.patch_size, positions) for x in MODALITIES}
        )
        streams = ("ab",) if m.encoder == "shared" else MODALITIES
        self.trunks = nn.ModuleDict(
            {stream: Trunk(m.width, m.depth, m.num_heads, m.mlp_ratio) for stream in streams}
        )
        self.heads = nn.ModuleDict(
            {
                name: retrieval_head(m.width, m.head_hidden, m.retrieval_dim, m.head_init)
                for view in m.retrieval_heads
                for name in (("same_a", "same_b") if view == "same" else (view,))
            }
        )
        if not loss.sig:  # a head that no loss reads is a fixed random projection
            for name, head in self.heads.items():
                view = name.split("_")[0]
                read = getattr(loss, view) or (loss.sig_pair and view != "same")
                head.requires_grad_(bool(read))
        # what runs, from the weights: a route of weight 0 has no predictor and encodes nothing
        weights = {route: loss.pred * weight for route, weight in loss.routes}
        self.route_weights = {route: weight for route, weight in weights.items() if weight}
        self.serves = {route: SHARING[m.predictor_sharing][route] for route in self.route_weights}
        self.predictors = nn.ModuleDict(
            {
                name: Predictor(m.width, m.predictor_depth, m.num_heads, m.mlp_ratio)
                for name in dict.fromkeys(self.serves.values())
            }
        )
        self.pools = any((loss.cross, loss.uni, loss.same, loss.sig, loss.sig_pair))

    # ------------------------------------------------------------------ training

    def loss(self, batch: Batch, step: Step) -> dict[str, Tensor]:
        """L = Σ λ_route L_pred + λ_cross L_cross + λ_uni L_uni + λ_same L_same + λ_sig L_sig."""
        cfg = self.config.loss
        seen: list[str] = [
            x for x in MODALITIES if self.pools or any(r[0] == x for r in self.serves)
        ]
        aimed: list[str] = [x for x in MODALITIES if any(r[1] == x for r in self.serves)]
        splits = {x: self._split(batch["keys"], step, x) for x in (*seen, *aimed)}
        tokens = {x: self.stems[x](batch[x]) for x in dict.fromkeys((*seen, *aimed))}
        contexts = self._encode({x: gather(tokens[x], splits[x].visible) for x in seen})

        terms: dict[str, Tensor] = {}
        weights = dict(cfg) | {f"pred_{route}": w for route, w in self.route_weights.items()}
        if self.serves:
            with torch.set_grad_enabled(torch.is_grad_enabled() and cfg.targets == "live"):
                targets = self._encode({x: gather(tokens[x], splits[x].hidden) for x in aimed})
            every = {x: cast(Tensor, self.stems[x].positions) for x in aimed}
            positions = {x: gather(every[x], splits[x].hidden) for x in aimed}
            predicted = predict(self.predictors, self.serves, contexts, positions)
            terms |= {f"pred_{r}": prediction(predicted[r], targets[r[1]]) for r in self.serves}
        if self.pools:
            terms |= self._retrieval({x: contexts[x].mean(1) for x in seen}, step)
        total = torch.stack([weights[name] * value for name, value in terms.items()]).sum()
        return {"loss": total, **terms}

    def _split(self, keys: Tensor, step: Step, modality: str) -> Split:
        m = self.config.model
        which = modality if m.mask_pairing == "independent" else "both"
        return random_split(keys, m.side**2, m.mask_ratio, step.seed, step.epoch, which)

    def _encode(self, tokens: dict[str, Tensor]) -> dict[str, Tensor]:
        """Through the trunk, both modalities as one batch where they share it."""
        if "ab" not in self.trunks:
            return {x: self.trunks[x](part) for x, part in tokens.items()}
        encoded = self.trunks["ab"](torch.cat(list(tokens.values())))
        return dict(zip(tokens, encoded.chunk(len(tokens)), strict=True))

    def _retrieval(self, pooled: dict[str, Tensor], step: Step) -> dict[str, Tensor]:
        """Active retrieval and SIGReg terms on pooled features (B, D)."""
        cfg, views = self.config.loss, self.config.model.retrieval_heads
        read = views if cfg.sig else [v for v in views if getattr(cfg, v) or cfg.sig_pair]
        r = {v: {x: self._head(v, x)(pooled[x]) for x in MODALITIES} for v in read}
        terms: dict[str, Tensor] = {}
        if cfg.cross:
            terms["cross"] = infonce(r["cross"]["a"], r["cross"]["b"], cfg.temperature)
        if cfg.uni:
            a, b = r["uni"]["a"], r["uni"]["b"]
            terms["uni"] = infonce(a, b, cfg.temperature) + cosine_distance(a, b)
        if cfg.same:
            own = [infonce(x, x.detach(), cfg.temperature) for x in r["same"].values()]
            terms["same"] = torch.stack(own).sum()
        if cfg.sig or cfg.sig_pair:
            size = cfg.sig_directions, self.config.model.retrieval_dim
            u = directions(*size, step.seed, step.index, device=pooled["a"].device)
        if cfg.sig:
            raw = torch.stack([x for view in r.values() for x in view.values()])
            terms["sig"] = sigreg(raw, u, cfg.sig_knots).mean()
        if cfg.sig_pair:
            fused = [(view["a"] + view["b"]) / 2 for name, view in r.items() if name != "same"]
            terms["sig_pair"] = sigreg(torch.stack(fused), u, cfg.sig_knots).mean()
        return terms

    # ------------------------------------------------------------------ retrieval

    def embed(self, images: Tensor, modality: Modality) -> dict[str, Tensor]:
        """The raw projection of every head, from the mean over all tokens: (B, R) float32."""
        pooled = self._encode({modality: self.stems[modality](images)})[modality].mean(1)
        views = self.config.model.retrieval_heads
        return {view: self._head(view, modality)(pooled).float() for view in views}

    def view(self, modality: Modality, direction: str, role: Role) -> str:
        """The head that serves ``direction``; see ``_PREFERRED``."""
        there = [
            view
            for view in _PREFERRED["same" if direction[0] == direction[1] else "cross"]
            if view in self.config.model.retrieval_heads
        ]
        trained = [view for view in there if getattr(self.config.loss, view)]
        return (trained or there)[0]

    def _head(self, view: str, modality: str) -> nn.Module:
        return self.heads[f"same_{modality}" if view == "same" else view]

    # ------------------------------------------------------------------ accounts

    def parts(self) -> dict[str, nn.Module | list[nn.Module]]:
        """Stems, trunk(s), predictors and heads, each by itself."""
        return {
            f"{group}.{name}": module
            for group in ("stems", "trunks", "predictors", "heads")
            for name, module in getattr(self, group).items()
        }

    def inference_parameters(self) -> Iterator[nn.Parameter]:
        """All but the predictors, and but heads that serve no direction."""
        used = {self.view(d[0], d, "query") for d in DIRECTIONS}  # type: ignore[arg-type]
        heads = (h for name, h in self.heads.items() if name.split("_")[0] in used)
        modules = (self.stems, self.trunks, *heads)
        return chain.from_iterable(module.parameters() for module in modules)
