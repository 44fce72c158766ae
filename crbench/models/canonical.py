"""Strong floors: ridge CCA of rich band statistics, linear or of random features.

No network and no gradient. Statistics are standardised by those of the training pairs; the ridge,
the number of components, how far they are weighted by their correlation, and the width of the
kernel are chosen on the split ``val`` by how high the own pair is ranked, which asks for no label.

Ridge CCA: Vinod 1976; random features of the Gaussian kernel: Rahimi and Recht 2007; CCA of them:
Lopez-Paz et al. 2014.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

import torch
from pydantic import Field
from torch import Tensor

from crbench.cards import MethodCard, Strict
from crbench.errors import UserError
from crbench.models.base import Method, Tables
from crbench.models.baselines import BandTable, band_statistics, of_pairs
from crbench.words import MODALITIES, Modality, Role

if TYPE_CHECKING:
    from crbench.data.pairs import Pairs

Sides = dict[Modality, Tensor]  # statistics (N, D) of both images of N pairs
_SAMPLE = 1000  # training pairs that the median distance is taken over
_LEAST = 8  # pairs to choose by


class CanonicalTable(BandTable):
    """Keys of ``[model]`` beside those of band statistics.

    ``strides``: in pixels, of the differences that roughness is taken from. ``features``: random
    features of a Gaussian kernel, 0 for the linear form. ``ridge`` (of standardised statistics),
    ``components``, ``power`` of the correlations that weigh them and ``bandwidth`` (of the kernel,
    in median distances) are what is tried. ``within``: what serves a sensor by itself.
    """

    strides: tuple[int, ...] = Field(min_length=1)
    features: int = Field(ge=0)
    ridge: tuple[float, ...] = Field(min_length=1)
    components: tuple[int, ...] = Field(min_length=1)
    power: tuple[float, ...] = Field(min_length=1)
    bandwidth: tuple[float, ...] = Field(min_length=1)
    within: Literal["statistics", "projected"]

    def width(self, bands: int) -> int:
        """Number of statistics of an image."""
        return (
            bands * (2 + len(self.percentiles) + 2 * len(self.strides)) + bands * (bands - 1) // 2
        )


def rich_statistics(
    images: Tensor, percentiles: tuple[float, ...], strides: tuple[int, ...]
) -> Tensor:
    """Images (B, C, S, S) → (B, D): per band mean, deviation, percentiles and mean absolute
    differences over each stride along both axes, then the correlation of each two bands."""
    pixels = images.flatten(2)
    parts = [band_statistics(images, percentiles)[:, :, : 2 + len(percentiles)].flatten(1)]
    for stride in strides:
        rows = images[:, :, stride:] - images[:, :, :-stride]
        columns = images[:, :, :, stride:] - images[:, :, :, :-stride]
        parts += [rows.abs().mean((2, 3)), columns.abs().mean((2, 3))]
    centred = pixels - pixels.mean(2, keepdim=True)
    unit = centred / centred.norm(dim=2, keepdim=True).clamp_min(1e-12)
    one, other = torch.triu_indices(images.shape[1], images.shape[1], 1)
    parts.append((unit @ unit.mT)[:, one, other])
    return torch.cat(parts, 1)


class Canonical(NamedTuple):
    """Canonical directions of two sides, (D, K) and (E, K), and their correlations (K,)."""

    a: Tensor
    b: Tensor
    correlations: Tensor


class Spectrum(NamedTuple):
    """A centred side (N, D) with the eigenvalues (D,) and axes (D, D) of its covariance."""

    side: Tensor
    power: Tensor
    axes: Tensor

    @classmethod
    def of(cls, side: Tensor) -> Spectrum:
        """Of ``side``, float64, centred."""
        return cls(side, *torch.linalg.eigh(side.T @ side / len(side)))

    def whitener(self, ridge: float) -> Tensor:
        """(D, D), symmetric: what makes the covariance with ``ridge`` the identity."""
        return self.axes / (self.power + ridge).clamp_min(1e-12).sqrt() @ self.axes.T


def ridge_cca(x: Spectrum, y: Spectrum, ridge: float) -> Canonical:
    """CCA of two sides (N, D) and (N, E) with ``ridge`` on both covariances: K = min(D, E)
    directions by falling correlation, below 1 where the ridge is above 0."""
    one, other = x.whitener(ridge), y.whitener(ridge)
    cross = one @ (x.side.T @ y.side / len(x.side)) @ other
    left, correlations, right = torch.linalg.svd(cross, full_matrices=False)
    return Canonical(one @ left, other @ right.T, correlations)


def own_pair_rank(x: Tensor, y: Tensor) -> float:
    """Mean reciprocal rank of the own pair, rows (N, K) of one side as queries among the other's by
    cosine, mean over both ways; of those that tie with it, half lie in front."""
    x, y = (torch.nn.functional.normalize(side, dim=1) for side in (x, y))
    total = 0.0
    for similar in (x @ y.T, y @ x.T):
        own = similar.diagonal()[:, None]
        front = (similar > own).sum(1) + 0.5 * ((similar == own).sum(1) - 1)
        total += float((1 / (1 + front)).mean())
    return total / 2


class RidgeCCA(Method):
    """Ridge CCA of rich band statistics, or of random features of them."""

    Config = Tables[CanonicalTable, Strict]  # no loss: nothing is trained by gradients
    trained_by = "fit"

    def __init__(self, card: MethodCard, bands: Mapping[str, int]) -> None:
        super().__init__(card, bands)
        model = self.config.model
        for m in MODALITIES:  # buffers, so that they are saved with the weights
            width = model.width(bands[m])
            self.register_buffer(f"mean_{m}", torch.zeros(width, dtype=torch.float64))
            self.register_buffer(f"spread_{m}", torch.ones(width, dtype=torch.float64))
            if model.features:
                drawn = torch.randn(width, model.features, dtype=torch.float64)
                phases = 2 * torch.pi * torch.rand(model.features, dtype=torch.float64)
                self.register_buffer(f"drawn_{m}", drawn)
                self.register_buffer(f"phases_{m}", phases)
                self.register_buffer(f"width_{m}", torch.ones((), dtype=torch.float64))
            width = model.features or width
            self.register_buffer(f"centre_{m}", torch.zeros(width, dtype=torch.float64))
            projection = torch.zeros(width, max(model.components), dtype=torch.float64)
            self.register_buffer(f"projection_{m}", projection)

    def fit(self, pairs: Pairs, val: Pairs | None = None) -> dict[str, float]:
        """Fit on ``pairs`` with what ranks own pairs of ``val`` highest, and return that; without
        ``val`` every fifth of ``pairs`` is held back to choose by, then taken along."""
        raw = self._statistics(pairs)
        if len(raw["a"]) < 2 * _LEAST:
            raise UserError(
                f"{len(raw['a'])} pairs are too few to fit and choose by",
                where=f"method card '{self.card.name}'",
                fix=f"take at least {2 * _LEAST} training pairs",
            )
        for m in MODALITIES:
            self._buffer("mean", m).copy_(raw[m].mean(0))
            spread = raw[m].std(0, correction=0)
            self._buffer("spread", m).copy_(torch.where(spread > 0, spread, 1.0))
        train: Sides = {m: self._standardised(raw[m], m) for m in MODALITIES}
        if val is not None and len(val) >= _LEAST:
            seen = self._statistics(val)
            chosen = self._choose(train, {m: self._standardised(seen[m], m) for m in MODALITIES})
        else:
            held = torch.arange(len(train["a"])) % 5 == 4
            most, few = ({m: train[m][rows] for m in MODALITIES} for rows in (~held, held))
            chosen = self._choose(most, few)
        found = ridge_cca(*self._spectra(train, chosen["bandwidth"]), chosen["ridge"])
        kept, weights = int(chosen["components"]), found.correlations ** chosen["power"]
        for m, side in zip(MODALITIES, found[:2], strict=True):
            self._buffer("projection", m).zero_()[:, :kept] = (side * weights)[:, :kept]
        return chosen

    def _buffer(self, name: str, m: str) -> Tensor:
        return cast(Tensor, getattr(self, f"{name}_{m}"))

    def _statistics(self, pairs: Pairs) -> dict[str, Tensor]:
        model = self.config.model
        return of_pairs(
            pairs, lambda images: rich_statistics(images, model.percentiles, model.strides)
        )

    def _standardised(self, raw: Tensor, m: str) -> Tensor:
        return (raw - self._buffer("mean", m)) / self._buffer("spread", m)

    def _choose(self, train: Sides, judge: Sides) -> dict[str, float]:
        """What is tried and ranks own pairs of ``judge`` highest; of equals the first."""
        model, tried = self.config.model, 0
        best: dict[str, float] = {"val_mrr": -1.0}
        for bandwidth in model.bandwidth if model.features else model.bandwidth[:1]:
            spectra = self._spectra(train, bandwidth)
            shown = [self._features(judge[m], m) for m in MODALITIES]
            for ridge in model.ridge:
                found = ridge_cca(*spectra, ridge)
                a, b = (x @ side for x, side in zip(shown, found[:2], strict=True))
                counts = sorted({min(count, len(found.correlations)) for count in model.components})
                for count, power in itertools.product(counts, model.power):
                    weights = found.correlations[:count] ** power
                    rank = own_pair_rank(a[:, :count] * weights, b[:, :count] * weights)
                    tried += 1
                    if rank > best["val_mrr"]:
                        best = {"bandwidth": bandwidth, "ridge": ridge, "components": float(count),
                                "power": power, "val_mrr": rank}  # fmt: skip
        return {**best, "tries": float(tried)}

    def _spectra(self, train: Sides, bandwidth: float) -> tuple[Spectrum, Spectrum]:
        """Settle what features are made by, and give those of the training pairs."""
        for m in MODALITIES:
            if self.config.model.features:
                sample = train[m][:: max(1, len(train[m]) // _SAMPLE)]
                median = torch.pdist(sample).median().clamp_min(1e-12)
                self._buffer("width", m).copy_(bandwidth * median)
            self._buffer("centre", m).zero_()
            self._buffer("centre", m).copy_(self._features(train[m], m).mean(0))
        a, b = (Spectrum.of(self._features(train[m], m)) for m in MODALITIES)
        return a, b

    def _features(self, statistics: Tensor, m: str) -> Tensor:
        """Standardised statistics (N, D), or their random features (N, F), centred."""
        if self.config.model.features:
            angle = statistics @ self._buffer("drawn", m) / self._buffer("width", m)
            statistics = (angle + self._buffer("phases", m)).cos() * (2 / angle.shape[1]) ** 0.5
        return statistics - self._buffer("centre", m)

    def embed(self, images: Tensor, modality: Modality) -> dict[str, Tensor]:
        """``statistics``: standardised, (B, D); ``projected``: canonical variates, (B, K)."""
        model = self.config.model
        raw = rich_statistics(images.double(), model.percentiles, model.strides)
        statistics = self._standardised(raw, modality)
        projected = self._features(statistics, modality) @ self._buffer("projection", modality)
        return {"statistics": statistics.float(), "projected": projected.float()}

    def view(self, modality: Modality, direction: str, role: Role) -> str:
        """Projections across sensors; within one what the card says."""
        return str(self.config.model.within) if direction[0] == direction[1] else "projected"
