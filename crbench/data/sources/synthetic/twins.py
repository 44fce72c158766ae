"""Synthetic twins: the same bands, classes, relevance and protocol as a benchmark, from a seed.

Every pair has a seed of its own, hashed from (seed, world, index): any range of rows can be made
alone, in any order, with the same pixels.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydantic import Field, PositiveInt

from crbench.cards import DatasetCard, ModalityCard, Strict, parse
from crbench.data.sources import Block, Source
from crbench.data.sources.raw import numbered
from crbench.data.sources.synthetic.grounds import GROUNDS, S2_BANDS, TWIN_CLASSES, TwinClasses
from crbench.data.sources.synthetic.scene import Scene, backscatter, block_mean, draw_scene, optical
from crbench.data.sources.synthetic.second import read_second, second_table
from crbench.errors import UserError, unknown
from crbench.seeds import derive

_GENERATORS = (1, 2)  # stand in the cards; raised with what a seed gives; 2 is in second.py
_LEAST_AREA = 0.05  # a class covering less of a multi-label scene is not among its labels
# Band name on the card → S2 bands averaged for it, and grey levels per unit of reflectance.
_OPTICAL = {
    **{band: ((band,), 1.0) for band in S2_BANDS},
    "R": (("B04",), 255 / 2600),
    "G": (("B03",), 255 / 2600),
    "B": (("B02",), 255 / 2600),
    "PAN": (("B02", "B03", "B04", "B08"), 255 / 4200),
    "blue": (("B02",), 255 / 4200),
    "green": (("B03",), 255 / 4200),
    "red": (("B04",), 255 / 4200),
    "nir": (("B08",), 255 / 6000),
}


class _TwinTable(Strict):
    """``[source]`` of a twin's card; ``splits`` gives the number of pairs of each, in order."""

    kind: str
    generator: int
    world: str
    seed: int
    looks: float = Field(gt=0)  # SAR speckle: lower is noisier
    noise: float = Field(ge=0)  # optical sensor noise, in reflectance × 10,000
    splits: dict[str, PositiveInt]


def open_twin(card: DatasetCard, source_dir: Path | None) -> Source:
    """The twin described by ``card.source``; ``source_dir`` is not needed and not looked at."""
    generator = card.source.get("generator")
    if generator not in _GENERATORS:
        raise UserError(
            f"the card asks for generator {generator}, this version has 1 and 2",
            where=f"{card.name}, source.generator",
            fix="take the card that ships with this version",
        )
    if generator == 2:
        return _open_second(card)
    table = parse(_TwinTable, card.source, where=f"{card.name}, [source]")
    if table.world not in TWIN_CLASSES:
        raise unknown("world", table.world, TWIN_CLASSES, where=f"{card.name}, source.world")
    world = TWIN_CLASSES[table.world]
    if missing := [name for name in card.labels.classes if name not in world.grounds]:
        raise unknown("class", missing[0], world.grounds, where=f"{card.name}, labels.classes")
    ratio = _ratio(card)
    counts = list(table.splits.values())
    n = sum(counts)
    targets = _targets(card, table, counts)

    def read(start: int, stop: int) -> Block:
        pairs = [_pair(card, table, world, ratio, row, targets) for row in range(start, stop)]
        a, b, labels = (np.stack(column) for column in zip(*pairs, strict=True))
        return Block(a, b, labels)

    return Source(
        ids=numbered(card.name, n),
        split=np.repeat(list(table.splits), counts).tolist(),
        read=read,
        description=f"synthetic scenes, world {table.world}, seed {table.seed}",
        fingerprint=f"twin 1 {table.world} {table.seed}",
        rows_per_block=max(1, 2**22 // (max(card.a.size) ** 2 * 16)),
    )


def _open_second(card: DatasetCard) -> Source:
    """A twin of generator 2."""
    table, ratio = second_table(card), _ratio(card)
    counts = list(table.splits.values())
    return Source(
        ids=numbered(card.name, sum(counts)),
        split=np.repeat(list(table.splits), counts).tolist(),
        read=read_second(card, ratio, _digital, _mixing),
        description=f"synthetic scenes, generator 2, world {table.world}, seed {table.seed}",
        fingerprint=f"twin 2 {table.world} {table.seed}",
        rows_per_block=max(1, 2**22 // (max(card.a.size) ** 2 * 16)),
    )


def _ratio(card: DatasetCard) -> int:
    """How many pixels of a lie along one pixel of b; a is the finer one and both are square."""
    (ha, wa), (hb, wb) = card.a.size, card.b.size
    if ha != wa or hb != wb or ha % hb:
        raise UserError(
            f"a twin needs square images, a's side a multiple of b's: {ha}×{wa} and {hb}×{wb}",
            where=f"{card.name}, a.size and b.size",
            fix="correct the sizes in the card",
        )
    return ha // hb


def _targets(card: DatasetCard, table: _TwinTable, counts: list[int]) -> np.ndarray | None:
    """Class of every row for single-label worlds, balanced inside each split and shuffled."""
    if card.labels.kind != "single":
        return None
    classes = len(card.labels.classes)
    parts = []
    for name, count in zip(table.splits, counts, strict=True):
        rng = np.random.default_rng(derive("twin classes", table.seed, table.world, name))
        parts.append(rng.permutation(np.arange(count) % classes))
    return np.concatenate(parts)


def _pair(
    card: DatasetCard,
    table: _TwinTable,
    world: TwinClasses,
    ratio: int,
    row: int,
    targets: np.ndarray | None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """One pair: images (C, H, W) of a and b in the cards' dtypes, and its label."""
    rng = np.random.default_rng(derive("twin", table.seed, table.world, row))
    classes = card.labels.classes
    side = card.a.size[0]
    if targets is None:
        drawn = _draw_classes(rng, world)
        scene = draw_scene(rng, side, [world.grounds[name] for name in drawn], None)
        area = np.bincount(scene.label, minlength=len(drawn)) / scene.label.size
        seen = {name for name, share in zip(drawn, area, strict=True) if share >= _LEAST_AREA}
        label = np.array([name in seen for name in classes], dtype=np.uint8)
    else:
        main = world.grounds[classes[targets[row]]]
        others = [name for name in world.around if name != main]
        around = rng.choice(others, size=int(rng.integers(1, 4)), replace=False).tolist()
        scene = draw_scene(rng, side, [*around, main], main)
        label = np.asarray(targets[row], dtype=np.int64)
    a = _sense(rng, scene, card.a, 1, table)
    b = _sense(rng, scene, card.b, ratio, table)
    return a, b, label


def _draw_classes(rng: np.random.Generator, world: TwinClasses) -> list[str]:
    """One to four classes that meet in a theme, skewed as the theme's weights say."""
    shares = np.array([theme["share"] for theme in world.themes])
    weights = world.themes[rng.choice(len(shares), p=shares / shares.sum())]["weights"]
    names = list(weights)
    chances = np.array(list(weights.values()))
    count = min(len(names), int(rng.choice([1, 2, 3, 4], p=[0.3, 0.42, 0.21, 0.07])))
    drawn = rng.choice(len(names), size=count, replace=False, p=chances / chances.sum())
    # Parcels first, so that overlays cover them and never the other way round.
    ordered = sorted(drawn.tolist(), key=lambda k: GROUNDS[world.grounds[names[k]]].form != "field")
    return [names[k] for k in ordered]


def _sense(
    rng: np.random.Generator, scene: Scene, card: ModalityCard, ratio: int, table: _TwinTable
) -> np.ndarray:
    """What the sensor of ``card`` sees of the scene, (C, H, W) in its dtype."""
    if set(card.bands) <= {"VV", "VH"}:
        intensity = backscatter(rng, scene, ratio, table.looks)
        intensity = intensity[[("VV", "VH").index(band) for band in card.bands]]
        if card.dtype == "uint8":  # amplitude, as 8-bit SAR products are scaled
            pixels = 255 * np.sqrt(intensity / 1.5)
        else:
            pixels = 10 * np.log10(np.maximum(intensity, 1e-5))
    else:
        bands, gain = _mixing(card)
        pixels = optical(rng, scene, bands, table.noise * gain)
        pixels = block_mean(pixels, scene.side, ratio)
    return _digital(card, pixels)


def _mixing(card: ModalityCard) -> tuple[np.ndarray, float]:
    """Weights (12, C) of Sentinel-2's bands in an optical card's, and their mean gain."""
    bands = np.zeros((len(S2_BANDS), len(card.bands)))
    for k, band in enumerate(card.bands):
        if band not in _OPTICAL:
            raise unknown("band", band, [*_OPTICAL, "VV", "VH"], where=f"bands of {card.name}")
        names, gain = _OPTICAL[band]
        bands[[S2_BANDS.index(name) for name in names], k] = gain / len(names)
    return bands, float(bands.sum(0).mean())


def _digital(card: ModalityCard, pixels: np.ndarray) -> np.ndarray:
    """Pixels (C, P) as the card stores them, (C, H, W)."""
    dtype = np.dtype(card.dtype)
    if dtype.kind == "u":
        pixels = np.clip(np.rint(pixels), 0, np.iinfo(dtype).max)
    return pixels.reshape(len(card.bands), *card.size).astype(dtype)
