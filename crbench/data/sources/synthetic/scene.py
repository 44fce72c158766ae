"""One synthetic scene from one seed: regions of ground, their textures, and what sensors see.

Everything is drawn on the unit square, then sampled at the finer sensor's grid; a coarser sensor
sees area averages of the same scene, as real pairs do.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from crbench.data.sources.synthetic.arithmetic import FAST, Arithmetic, sin
from crbench.data.sources.synthetic.grounds import ENDMEMBERS, GROUNDS, spectra

_Array = np.ndarray
HAZE = np.array([1.0, 0.8, 0.55, 0.35, 0.28, 0.2, 0.16, 0.12, 0.1, 0.08, 0.03, 0.02])


@dataclass
class Scene:
    """``label`` (P,) index into ``grounds`` per pixel; ``growth`` (P,) plant cover swing, −1…1;
    ``relief`` (P,) relative texture, mean 0; P = side² pixels in row order."""

    grounds: list[str]
    label: _Array
    growth: _Array
    relief: _Array
    side: int


@lru_cache(maxsize=64)
def _spline(side: int, nodes: int) -> _Array:
    """(side, nodes + 2) weights of a cubic B-spline, scaled to unit variance on average."""
    position = (np.arange(side) + 0.5) / side * (nodes - 1) + 1
    distance = np.abs(position[:, None] - np.arange(nodes + 2)[None])
    near = 2 / 3 - distance * distance + distance * distance * distance / 2
    beyond = np.clip(2 - distance, 0, None)
    far = beyond * beyond * beyond / 6
    weights = np.where(distance < 1, near, far)
    return (weights / np.sqrt((weights * weights).sum(1, keepdims=True))).astype(np.float32)


def smooth(
    rng: np.random.Generator, side: int, nodes: int, arithmetic: Arithmetic = FAST
) -> _Array:
    """Smooth noise (side, side), mean 0, variance 1, with ``nodes`` bumps along a side."""
    weights = _spline(side, min(nodes, side))
    inner = rng.standard_normal((weights.shape[1], weights.shape[1]), dtype=np.float32)
    return arithmetic.product(arithmetic.product(weights, inner), weights.T)


@lru_cache(maxsize=8)
def _axes(side: int) -> tuple[_Array, _Array]:
    step = (np.arange(side, dtype=np.float32) + 0.5) / side
    return np.meshgrid(step, step, indexing="ij")


def _turned(rng: np.random.Generator, side: int) -> tuple[_Array, _Array]:
    """The axes turned about the centre by a random angle, each (side, side), about −0.7…0.7."""
    angle = rng.uniform(0, np.pi)
    v, u = _axes(side)
    c, s = np.float32(sin(angle + np.pi / 2)), np.float32(sin(angle))
    return c * (u - 0.5) - s * (v - 0.5), s * (u - 0.5) + c * (v - 0.5)


def field_cells(rng: np.random.Generator, side: int, n: int) -> _Array:
    """(side, side) index of the nearest of n seeds in a turned box metric: field parcels."""
    x, y = _turned(rng, side)
    seeds = rng.uniform(-0.6, 0.6, (n, 2)).astype(np.float32)
    stretch = np.float32(rng.uniform(0.5, 2.0))
    reach = np.maximum(
        np.abs(x.ravel()[None] - seeds[:, :1]), stretch * np.abs(y.ravel()[None] - seeds[:, 1:])
    )
    return reach.argmin(0).reshape(side, side)


def _blob(rng: np.random.Generator, side: int, area: float, arithmetic: Arithmetic) -> _Array:
    field = smooth(rng, side, int(rng.integers(2, 5)), arithmetic)
    return field > np.quantile(field, 1 - area)


def _band(rng: np.random.Generator, side: int, area: float, arithmetic: Arithmetic) -> _Array:
    x, y = _turned(rng, side)
    swing = rng.uniform(0.0, 0.18)
    bend = swing * arithmetic.sine(2 * np.pi * (rng.uniform(0.5, 1.5) * x + rng.uniform()))
    return np.abs(y - rng.uniform(-0.2, 0.2) - bend) < area / 2


def _block(rng: np.random.Generator, side: int, area: float, arithmetic: Arithmetic) -> _Array:
    x, y = _turned(rng, side)
    ratio = rng.uniform(0.6, 1.6)
    half = 0.5 * np.sqrt(area)
    x, y = x - rng.uniform(-0.25, 0.25), y - rng.uniform(-0.25, 0.25)
    return np.maximum(np.abs(x) / ratio, np.abs(y) * ratio) < half * (
        1 + 0.12 * smooth(rng, side, 5, arithmetic)
    )


OVERLAYS = {"blob": _blob, "band": _band, "grid": _block}


def ground_relief(
    rng: np.random.Generator, side: int, ground: str, arithmetic: Arithmetic = FAST
) -> _Array:
    """Relative texture of one ground, (side, side), mean about 0."""
    kind = GROUNDS[ground]
    relief = kind.rough * smooth(rng, side, kind.grain, arithmetic)
    if kind.form == "grid":
        x, y = _turned(rng, side)
        blocks = rng.integers(6, 11)
        i, j = ((axis + 0.8) * blocks for axis in (x, y))
        tone = rng.standard_normal((2 * blocks + 1, 2 * blocks + 1), dtype=np.float32)
        roofs = tone[i.astype(np.int32), j.astype(np.int32)]
        street = (np.minimum(i % 1, j % 1) < 0.22) * np.float32(1.2)
        relief = relief * 0.3 + kind.rough * (0.8 * roofs - street + 0.4)
    if kind.rows:
        x, _ = _turned(rng, side)
        relief = relief + kind.rows * arithmetic.sine(2 * np.pi * rng.uniform(10, 15) * x)
    return relief.astype(np.float32)


def draw_scene(rng: np.random.Generator, side: int, grounds: list[str], main: str | None) -> Scene:
    """Lay ``grounds`` out on a side × side grid.

    With ``main`` (single-label scenes) that ground takes 60–100 % of the parcels, or its own
    form across a background of the others; without, all share the scene and overlays lie above.
    """
    fields = [k for k, name in enumerate(grounds) if GROUNDS[name].form == "field"]
    if not fields:  # water, town and the like alone: the first one is the ground of the others
        fields = [0]
    parcels = int(rng.integers(7, 14))
    shares = rng.dirichlet(np.full(len(fields), 1.5))
    owner = np.array(fields)[rng.choice(len(fields), parcels, p=shares)]
    owner[: len(fields)] = fields
    if main is not None and GROUNDS[main].form == "field":
        owner = np.where(rng.random(parcels) < rng.uniform(0.6, 1.0), grounds.index(main), owner)
    cells = field_cells(rng, side, parcels)
    label = owner[cells]
    for k, name in enumerate(grounds):
        form = GROUNDS[name].form
        if form == "field" or (k == fields[0] and main != name):
            continue
        if main is None:
            area = rng.uniform(0.12, 0.4)
        else:
            area = rng.uniform(0.1, 0.22) if form == "band" else rng.uniform(0.55, 0.98)
        label = np.where(OVERLAYS[form](rng, side, area, FAST), k, label)
    growth = rng.uniform(-1, 1, parcels).astype(np.float32)[cells]
    relief = np.zeros((side, side), dtype=np.float32)
    for k in np.flatnonzero(np.bincount(label.ravel())).tolist():
        relief = np.where(label == k, ground_relief(rng, side, grounds[k]), relief)
    return Scene(list(grounds), label.ravel(), growth.ravel(), relief.ravel(), side)


def optical(rng: np.random.Generator, scene: Scene, bands: _Array, noise: float) -> _Array:
    """Reflectance × 10,000 of the scene, (C, P) float32; ``bands`` (12, C) mixes S2's into C.

    Illumination, haze and a colour cast per ground vary by scene; ``noise`` is the sensor's.
    """
    names = scene.grounds
    whole, single = rng.standard_normal((len(names), 1)), rng.standard_normal((len(names), 12))
    cast = np.exp(0.05 * whole + 0.03 * single)
    light = np.exp(0.08 * rng.standard_normal())
    haze = 200 * rng.random() ** 2 * HAZE
    table = (spectra(names) * cast * light + haze) @ bands
    swing = (np.array(ENDMEMBERS["leaf"]) - np.array(ENDMEMBERS["soil"])) * light @ bands
    reach = np.array([GROUNDS[name].growth for name in names], dtype=np.float32)
    radiance = table.T.astype(np.float32)[:, scene.label]
    radiance *= 1 + scene.relief
    if reach.any():
        radiance += swing[:, None].astype(np.float32) * (scene.growth * reach[scene.label])
    grain = rng.standard_normal(radiance.shape, dtype=np.float32)
    return np.clip(radiance + (0.03 * radiance + np.float32(noise)) * grain, 1, None)


def backscatter(rng: np.random.Generator, scene: Scene, ratio: int, looks: float) -> _Array:
    """Intensity (2, P / ratio²) float32 in VV and VH: means by ground, area average, speckle.

    Speckle is gamma with ``looks`` looks, independent per polarisation and pixel.
    """
    names = scene.grounds
    level = np.array([[GROUNDS[name].vv, GROUNDS[name].vh] for name in names]).T
    level = level + rng.normal(0, 0.5) + rng.normal(0, 0.2, (2, 1))
    level = level + rng.normal(0, 0.3, level.shape)
    reach = np.array([GROUNDS[name].growth for name in names])
    decibel = level.astype(np.float32)[:, scene.label]
    decibel += np.float32(6) * scene.relief
    swing = scene.growth * reach.astype(np.float32)[scene.label]
    decibel += np.array([[2.5], [4.0]], dtype=np.float32) * swing
    intensity = block_mean(np.exp(decibel * np.float32(np.log(10) / 10)), scene.side, ratio)
    return (intensity * rng.gamma(looks, 1 / looks, intensity.shape)).astype(np.float32)


def block_mean(images: _Array, side: int, ratio: int) -> _Array:
    """Area average of (C, side²) images over ratio × ratio blocks: (C, (side / ratio)²)."""
    if ratio == 1:
        return images
    small = side // ratio
    blocks = images.reshape(len(images), small, ratio, small, ratio)
    return blocks.mean((2, 4)).reshape(len(images), small * small)
