"""Two towers: a small ViT per modality, pulled together by InfoNCE. The method of the tutorial."""

from typing import Literal

import torch
from pydantic import Field
from torch import nn

from crbench.cards import Strict
from crbench.models.base import Batch, Method, Step
from crbench.models.losses import infonce
from crbench.models.vit import Stem, Trunk
from crbench.words import MODALITIES, Modality, Role


class Model(Strict):
    """The ``[model]`` table: what the card has to say, and in what range."""

    image_size: int = Field(gt=0)
    patch_size: int = Field(gt=0)
    width: int = Field(gt=0, multiple_of=4)
    depth: int = Field(gt=0)
    num_heads: int = Field(gt=0)
    pool: Literal["mean", "max"]


class Loss(Strict):
    """The ``[loss]`` table."""

    temperature: float = Field(gt=0)


class Config(Strict):
    model: Model
    loss: Loss


class TwoTowers(Method):
    Config = Config

    def __init__(self, card, bands):
        super().__init__(card, bands)  # checks the card: self.config is a Config from here on
        m = self.config.model
        self.towers = nn.ModuleDict()
        for x in MODALITIES:
            stem = Stem(bands[x], m.width, m.image_size, m.patch_size)
            self.towers[x] = nn.Sequential(stem, Trunk(m.width, m.depth, m.num_heads))

    def features(self, images: torch.Tensor, modality: str) -> torch.Tensor:
        """(B, C, S, S) → (B, D)."""
        tokens = self.towers[modality](images)
        return tokens.mean(1) if self.config.model.pool == "mean" else tokens.amax(1)

    def loss(self, batch: Batch, step: Step) -> dict[str, torch.Tensor]:
        a, b = (self.features(batch[x], x) for x in MODALITIES)
        value = infonce(a, b, self.config.loss.temperature)
        return {"loss": value, "infonce": value}

    def embed(self, images: torch.Tensor, modality: Modality) -> dict[str, torch.Tensor]:
        return {"pooled": self.features(images, modality).float()}

    def view(self, modality: Modality, direction: str, role: Role) -> str:
        return "pooled"  # one view serves all
