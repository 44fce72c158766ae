"""References without a network: band statistics, and their linear CCA.

Statistics per band of an image: mean, standard deviation, percentiles, and mean absolute
difference between vertical and between horizontal neighbours. They tell how far tone and
roughness alone go, and how much a trained method has learned beyond them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from pydantic import Field
from sklearn.cross_decomposition import CCA as LinearCCA
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from crbench.cards import MethodCard, Strict
from crbench.errors import UserError
from crbench.models.base import Method, Tables
from crbench.words import MODALITIES, Modality, Role

if TYPE_CHECKING:
    from crbench.data.pairs import Pairs

_BLOCK = 256  # pairs read at a time while fitting


class BandTable(Strict):
    """Keys of ``[model]``: input side in pixels and percentiles in 0…100."""

    image_size: int = Field(gt=1)
    percentiles: tuple[float, ...]

    @property
    def per_band(self) -> int:
        """Number of statistics of one band."""
        return 4 + len(self.percentiles)


class _Projection(BandTable):
    """``components``: dimensions of the common space, cut to what the statistics hold."""

    components: int = Field(gt=0)


def band_statistics(images: Tensor, percentiles: tuple[float, ...]) -> Tensor:
    """Images (B, C, S, S) → (B, C, 4 + P) in at least fp32, in the order named above."""
    images = images if images.dtype == torch.float64 else images.float()
    pixels = images.flatten(2)
    parts = [pixels.mean(2), pixels.std(2, correction=0)]
    if percentiles:
        levels = torch.tensor(percentiles, dtype=images.dtype, device=images.device) / 100
        parts += list(pixels.quantile(levels, dim=2))
    parts += [images.diff(dim=axis).abs().mean((2, 3)) for axis in (2, 3)]
    return torch.stack(parts, 2)


def of_pairs(pairs: Pairs, statistics: Callable[[Tensor], Tensor]) -> dict[str, Tensor]:
    """``statistics`` (B, C, S, S) → (B, D) of both images of all pairs: (N, D) float64 each, on the
    processor, read block by block."""
    sides: dict[str, list[Tensor]] = {m: [] for m in MODALITIES}
    for start in range(0, len(pairs), _BLOCK):
        batch = pairs.batch(np.arange(start, min(start + _BLOCK, len(pairs))))
        for m in MODALITIES:
            sides[m].append(statistics(batch[m].double()).cpu())
    return {m: torch.cat(parts) for m, parts in sides.items()}


class BandStats(Method):
    """Band statistics as they are; across modalities their mean over the bands, which is the
    same list of numbers on both sides."""

    Config = Tables[BandTable, Strict]  # no loss: nothing is trained by gradients
    trained_by = "nothing"

    def embed(self, images: Tensor, modality: Modality) -> dict[str, Tensor]:
        """``bands``: (B, C · (4 + P)), ``mean``: (B, 4 + P)."""
        statistics = band_statistics(images, self.config.model.percentiles).float()
        return {"bands": statistics.flatten(1), "mean": statistics.mean(1)}

    def view(self, modality: Modality, direction: str, role: Role) -> str:
        """All bands within a modality, their mean across."""
        return "bands" if direction[0] == direction[1] else "mean"


class CCA(Method):
    """Linear canonical correlation analysis of band statistics (scikit-learn, NIPALS), fitted
    on the training pairs; the projections of both sides serve all four directions."""

    Config = Tables[_Projection, Strict]
    trained_by = "fit"

    def __init__(self, card: MethodCard, bands: Mapping[str, int]) -> None:
        super().__init__(card, bands)
        model = self.config.model
        widths = {m: bands[m] * model.per_band for m in MODALITIES}
        self.components = min(model.components, *widths.values())
        for m in MODALITIES:  # buffers, so that they are saved with the weights
            self.register_buffer(f"mean_{m}", torch.zeros(widths[m], dtype=torch.float64))
            rotation = torch.zeros(widths[m], self.components, dtype=torch.float64)
            self.register_buffer(f"rotation_{m}", rotation)

    def fit(self, pairs: Pairs, val: Pairs | None = None) -> dict[str, float]:
        """Fit on all ``pairs``; the same pairs give the same projections. Nothing is chosen."""
        if len(pairs) <= self.components:
            raise UserError(
                f"CCA with {self.components} components needs more than {len(pairs)} pairs",
                where=f"method card '{self.card.name}', model.components",
                fix="lower model.components or take more training pairs",
            )
        percentiles = self.config.model.percentiles
        found = of_pairs(pairs, lambda images: band_statistics(images, percentiles).flatten(1))
        x, y = (found[m].numpy() for m in MODALITIES)
        model = LinearCCA(self.components, scale=True, max_iter=2000)
        with warnings.catch_warnings():
            # later components of nearly equal correlation swap back and forth below any tolerance
            warnings.simplefilter("ignore", ConvergenceWarning)
            model.fit(x, y)
        # sklearn divides by the standard deviation before it rotates; one matrix does both here
        fitted = (("a", x, model.x_rotations_), ("b", y, model.y_rotations_))
        for m, values, rotations in fitted:
            spread = values.std(0, ddof=1)
            spread[spread == 0] = 1.0
            getattr(self, f"mean_{m}").copy_(torch.from_numpy(values.mean(0)))
            getattr(self, f"rotation_{m}").copy_(torch.from_numpy(rotations / spread[:, None]))
        return {}

    def embed(self, images: Tensor, modality: Modality) -> dict[str, Tensor]:
        """``projected``: canonical variates (B, components) float32."""
        mean, rotation = getattr(self, f"mean_{modality}"), getattr(self, f"rotation_{modality}")
        statistics = band_statistics(images.double(), self.config.model.percentiles).flatten(1)
        return {"projected": ((statistics - mean) @ rotation).float()}

    def view(self, modality: Modality, direction: str, role: Role) -> str:
        """One projection serves everything."""
        return "projected"
