"""Generator 2: what each sensor sees beyond the ground that both share.

Season, haze and illumination are the optical sensor's, incidence angle, moisture and speckle the
radar's; ``b`` may be misregistered, and the ground may have changed at its date. Every key is 0 for
nothing of it. A sensor's draws have a stream of their own: another haze leaves the radar as it is.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pydantic import Field, PositiveInt

from crbench.cards import DatasetCard, ModalityCard, Strict, parse
from crbench.data.sources import Block
from crbench.data.sources.synthetic.arithmetic import SAME, exp, log10, product
from crbench.data.sources.synthetic.factors import Factors, draw_factors
from crbench.data.sources.synthetic.grounds import ENDMEMBERS, GROUNDS, TWIN_CLASSES, spectra
from crbench.data.sources.synthetic.scene import (
    HAZE,
    OVERLAYS,
    block_mean,
    field_cells,
    ground_relief,
)
from crbench.errors import UserError, unknown
from crbench.seeds import derive

_LEAST_AREA = 0.06  # of a class in a multi-label scene: layouts that show less are drawn again
_TRIES = 30


class SecondTable(Strict):
    """``[source]`` of a twin of generator 2; ``splits`` gives the number of pairs of each."""

    kind: str
    generator: int
    world: str
    seed: int
    splits: dict[str, PositiveInt]
    looks: float = Field(ge=1, le=50)  # of the speckle: fewer are noisier
    noise: float = Field(ge=0, le=500)  # of the optical sensor, in reflectance × 10,000
    season: float = Field(ge=0, le=1)  # how far leaves may have turned to straw, and back
    haze: float = Field(ge=0, le=5)  # times the haze of generator 1
    incidence: float = Field(ge=0, le=5)  # sd over scenes of the backscatter's level, dB
    moisture: float = Field(ge=0, le=5)  # sd over scenes of bare and dry ground's level, dB
    variety: float = Field(ge=0, le=10)  # times generator 1's spread inside a class
    clutter: float = Field(ge=0, le=0.8)  # most of a single-label scene that is other ground
    shift: float = Field(ge=0, le=8)  # most misregistration of b along each axis, its pixels
    change: float = Field(ge=0, le=0.9)  # share of the pairs whose ground changed between the dates
    imbalance: float = Field(ge=1, le=100)  # most over least frequent class (single-label)
    alike_a: list[list[str]] = Field(default_factory=list)  # classes that a cannot tell apart
    alike_b: list[list[str]] = Field(default_factory=list)


def second_table(card: DatasetCard) -> SecondTable:
    """The card's table, its names checked against its world."""
    table = parse(SecondTable, card.source, where=f"{card.name}, [source]")
    if table.world not in TWIN_CLASSES:
        raise unknown("world", table.world, TWIN_CLASSES, where=f"{card.name}, source.world")
    grounds = TWIN_CLASSES[table.world].grounds
    for key, groups in (("alike_a", table.alike_a), ("alike_b", table.alike_b)):
        where = f"{card.name}, source.{key}"
        for names in groups:
            if strange := [name for name in names if name not in card.labels.classes]:
                raise unknown("class", strange[0], card.labels.classes, where=where)
            if len({GROUNDS[grounds[name]].form for name in names}) > 1:
                what = f"{', '.join(names)} lie in different forms, which any sensor sees"
                raise UserError(what, where=where, fix="name classes of one form")
        members = [name for names in groups for name in names]
        if len(set(members)) < len(members):
            raise UserError("a class stands in two groups", where=where, fix="join the groups")
    return table


def twin_factors(card: DatasetCard) -> Factors:
    """What the pairs of the card's twin show, and what its sensors see of it, in order."""
    table = second_table(card)
    return draw_factors(
        card.labels.classes,
        TWIN_CLASSES[table.world],
        multi=card.labels.kind == "multi",
        seed=table.seed,
        name=table.world,
        count=sum(table.splits.values()),
        alike={"a": table.alike_a, "b": table.alike_b},
        change=table.change,
        imbalance=table.imbalance,
    )


Sense = Callable[[np.ndarray, ModalityCard], np.ndarray]


def read_second(
    card: DatasetCard,
    ratio: int,
    digital: Callable[[ModalityCard, np.ndarray], np.ndarray],
    mixing: Callable[[ModalityCard], tuple[np.ndarray, float]],
) -> Callable[[int, int], Block]:
    """Rows of the twin. ``ratio``: pixels of a along one of b; ``digital`` casts to a card's dtype,
    ``mixing`` gives the weights (12, C) of an optical card's bands and its gain."""
    table, factors = second_table(card), twin_factors(card)
    world, multi = TWIN_CLASSES[table.world], card.labels.kind == "multi"
    grounds = [world.grounds[name] for name in card.labels.classes]
    pad = int(np.ceil(table.shift)) * ratio  # the scene is larger than the images by what b moves

    def pair(row: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        images = []
        for which, scenes in (("a", factors.drawn), ("b", factors.later)):
            anew = which == "b" and bool(factors.changed[row])
            layout = _rng("layout b" if anew else "layout", table, row)
            around = list(layout.choice(world.around, int(layout.integers(1, 4)), replace=False)
                          if world.around else [])  # fmt: skip
            shown = [grounds[c] for c in np.flatnonzero(factors.sets[scenes[row]])]
            seen = [grounds[factors.groups[which][c]]
                    for c in np.flatnonzero(factors.sets[scenes[row]])]  # fmt: skip
            side = card.a.size[0] + 2 * pad
            regions, growth = _lay_out(layout, side, shown, around, multi, table.clutter)
            modality = card.modality(which)
            rng = _rng(f"sensor {which}", table, row)
            reliefs = int(layout.integers(2**62))
            scene = _Scene([*seen, *around], regions, growth, side, reliefs)
            radar = set(modality.bands) <= {"VV", "VH"}
            pixels = (
                _backscatter(rng, scene, modality, table)
                if radar
                else _reflectance(rng, scene, *mixing(modality), table)
            )
            move = np.zeros(2, int)
            if which == "b" and table.shift:
                move = np.rint(rng.uniform(-table.shift, table.shift, 2) * ratio).astype(int)
            top, left = pad + move
            pixels = pixels.reshape(-1, side, side)
            pixels = pixels[:, top : top + card.a.size[0], left : left + card.a.size[1]]
            pixels = pixels.reshape(len(pixels), -1)
            pixels = block_mean(pixels, card.a.size[0], 1 if which == "a" else ratio)
            pixels = (_speckled(rng, pixels, modality, table.looks) if radar
                      else _noisy(rng, pixels, table.noise * mixing(modality)[1]))  # fmt: skip
            images.append(digital(modality, pixels))
        label = factors.sets[factors.drawn[row]]
        stored = label.astype(np.uint8) if multi else np.asarray(label.argmax(), dtype=np.int64)
        return images[0], images[1], stored

    def read(start: int, stop: int) -> Block:
        a, b, labels = (np.stack(x) for x in zip(*map(pair, range(start, stop)), strict=True))
        return Block(a, b, labels)

    return read


def _rng(stream: str, table: SecondTable, row: int) -> np.random.Generator:
    return np.random.default_rng(derive("twin 2", stream, table.seed, table.world, row))


class _Scene:
    """Regions of ground as one sensor sees them: ``grounds`` by name, ``label`` and ``growth`` (P,)
    per pixel; ``seed`` of the textures, so that equal grounds have equal ones for both sensors."""

    def __init__(
        self, grounds: list[str], label: np.ndarray, growth: np.ndarray, side: int, seed: int
    ) -> None:
        self.grounds, self.label, self.growth, self.side = grounds, label, growth, side
        relief = np.zeros((side, side), dtype=np.float32)
        where = label.reshape(side, side)
        for k in np.flatnonzero(np.bincount(label, minlength=len(grounds))).tolist():
            rng = np.random.default_rng([seed, k])
            relief = np.where(where == k, ground_relief(rng, side, grounds[k], SAME), relief)
        self.relief = relief.ravel()

    def per_pixel(self, values: np.ndarray) -> np.ndarray:
        """Values (C, G) or (G,) of grounds at every pixel, float32."""
        return np.asarray(values, dtype=np.float32)[..., self.label]

    def share(self, *endmembers: str) -> np.ndarray:
        """The share of some endmembers in each ground, (G,)."""
        return np.array([sum(GROUNDS[g].mix.get(e, 0.0) for e in endmembers) for g in self.grounds])


def _lay_out(
    rng: np.random.Generator,
    side: int,
    shown: list[str],
    around: list[str],
    multi: bool,
    clutter: float,
) -> tuple[np.ndarray, np.ndarray]:
    """Region of every pixel (P,), an index into ``[*shown, *around]``, and its growth (P,), −1…1.

    Of the shown grounds nothing but the form counts, so that the layout says nothing else of them.
    """
    for _ in range(_TRIES):
        regions, growth = _one_layout(rng, side, shown, around, multi, clutter)
        if not multi or np.bincount(regions, minlength=len(shown)).min() >= _LEAST_AREA * side**2:
            break
    return regions, growth


def _one_layout(
    rng: np.random.Generator,
    side: int,
    shown: list[str],
    around: list[str],
    multi: bool,
    clutter: float,
) -> tuple[np.ndarray, np.ndarray]:
    forms = [GROUNDS[name].form for name in shown]
    order = rng.permutation(len(shown))
    overlays = [int(k) for k in order if forms[k] != "field"]
    fields = [int(k) for k in order if forms[k] == "field"]
    below = [*range(len(shown), len(shown) + len(around))]
    if multi and not fields:  # water, town and the like alone: one is the ground of the others
        fields, overlays = overlays[:1], overlays[1:]
    parcels = int(rng.integers(7, 14))
    cells = field_cells(rng, side, parcels)
    growth = rng.uniform(-1, 1, parcels).astype(np.float32)[cells]
    if multi:
        owner = rng.choice(np.array(fields), parcels)
        owner[: len(fields)] = fields
        areas = rng.uniform(0.12, 0.4, len(overlays))
    else:  # of the scene a share is its own ground's, the rest is clutter
        own = 1 - rng.uniform(0, clutter)
        owner = rng.choice(np.array(below), parcels)
        if fields:
            owner = np.where(rng.random(parcels) < own, fields[0], owner)
            owner[0] = fields[0]
        areas = np.full(len(overlays), min(own, 0.98))
    regions = owner[cells]
    for k, area in zip(overlays, areas.tolist(), strict=True):
        if not multi and forms[k] == "band":
            area *= 0.25
        regions = np.where(OVERLAYS[forms[k]](rng, side, area, SAME), k, regions)
    return regions.ravel(), growth.ravel()


def _reflectance(
    rng: np.random.Generator, scene: _Scene, bands: np.ndarray, gain: float, table: SecondTable
) -> np.ndarray:
    """Reflectance × 10,000 × gain, (C, P) float32, before the sensor; ``bands`` (12, C)."""
    grounds = len(scene.grounds)
    whole, single = rng.standard_normal((grounds, 1)), rng.standard_normal((grounds, 12))
    cast = exp(table.variety * (0.05 * whole + 0.03 * single))
    light = exp(0.08 * rng.standard_normal())
    ends = {name: np.array(values) for name, values in ENDMEMBERS.items()}
    turned = 0.6 * table.season * rng.uniform(-1, 1) * scene.share("leaf")[:, None]
    mean = spectra(scene.grounds) + turned * (ends["straw"] - ends["leaf"])
    share = rng.random()
    haze = table.haze * 200 * share * share * HAZE
    colours = product(np.clip(mean, 20, None) * cast * light + haze, bands)
    radiance = scene.per_pixel(colours.T) * (1 + scene.relief)
    reach = scene.per_pixel(np.array([GROUNDS[name].growth for name in scene.grounds]))
    plants = ((ends["leaf"] - ends["soil"]) * light)[None]
    swing = product(plants, bands).T.astype(np.float32)
    return np.asarray(radiance + swing * (scene.growth * reach))


def _noisy(rng: np.random.Generator, radiance: np.ndarray, noise: float) -> np.ndarray:
    grain = rng.standard_normal(radiance.shape, dtype=np.float32)
    return np.clip(radiance + (0.03 * radiance + np.float32(noise)) * grain, 1, None)


def _backscatter(
    rng: np.random.Generator, scene: _Scene, card: ModalityCard, table: SecondTable
) -> np.ndarray:
    """Intensity (C, P) float32 in the card's polarisations, before averaging and speckle."""
    level = np.array([[GROUNDS[g].vv, GROUNDS[g].vh] for g in scene.grounds]).T
    level = level + rng.normal(0, 1, (1, 1)) * table.incidence * np.array([[1.0], [1.3]])
    dry = scene.share("soil", "straw", "sand")
    level = level + table.moisture * rng.standard_normal() * dry * np.array([[1.0], [0.6]])
    level = level + table.variety * rng.normal(0, 0.4, level.shape)
    reach = scene.per_pixel(np.array([GROUNDS[name].growth for name in scene.grounds]))
    decibel = scene.per_pixel(level) + np.float32(6) * scene.relief
    decibel += np.array([[2.5], [4.0]], dtype=np.float32) * (scene.growth * reach)
    chosen = decibel[[("VV", "VH").index(band) for band in card.bands]]
    return exp(chosen * np.float32(np.log(10) / 10)).astype(np.float32)


def _speckled(
    rng: np.random.Generator, intensity: np.ndarray, card: ModalityCard, looks: float
) -> np.ndarray:
    """Speckled intensity in the card's units: amplitude in 8 bits, else dB."""
    speckled = intensity * rng.gamma(looks, 1 / looks, intensity.shape)
    if card.dtype == "uint8":
        return np.asarray(255 * np.sqrt(speckled / 1.5))
    return 10 * log10(np.maximum(speckled, 1e-5))
