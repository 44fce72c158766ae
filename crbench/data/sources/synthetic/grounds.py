"""What the synthetic twins show, as ``grounds.toml`` says it; its numbers are explained there."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crbench.data.sources.synthetic.arithmetic import product

S2_BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")


@dataclass(frozen=True)
class Ground:
    """One kind of ground.

    ``mix``: shares of the endmembers (summing to 1). ``vv``, ``vh``: mean backscatter, dB.
    ``growth``: how far plant cover swings from field to field (0–1), seen by both sensors.
    ``rough``, ``grain``: relative amplitude of the texture and its cells per scene side.
    ``rows``: relative amplitude of planted rows. ``form``: how it lies in a scene, one of
    "field", "blob", "grid" (blocks and streets), "band" (rivers, roads).
    """

    mix: dict[str, float]
    vv: float
    vh: float
    growth: float = 0.0
    rough: float = 0.08
    grain: int = 8
    rows: float = 0.0
    form: str = "field"


@dataclass(frozen=True)
class TwinClasses:
    """Classes of one benchmark. ``grounds``: class name → key of GROUNDS, in any order.

    ``themes`` (multi-label): ``share`` of the scenes and ``weights`` of the classes that meet in
    each. ``around`` (single-label): grounds that may fill the rest of a scene.
    """

    grounds: dict[str, str]
    themes: Sequence[dict[str, Any]] = ()
    around: Sequence[str] = ()


_TABLES = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
ENDMEMBERS: dict[str, list[float]] = _TABLES["endmembers"]
GROUNDS = {name: Ground(**fields) for name, fields in _TABLES["grounds"].items()}
TWIN_CLASSES = {name: TwinClasses(**fields) for name, fields in _TABLES["classes"].items()}


def spectra(grounds: list[str]) -> np.ndarray:
    """Mean reflectance × 10,000 of each ground, (n, 12) float64, bands as in S2_BANDS."""
    names = list(ENDMEMBERS)
    table = np.array([ENDMEMBERS[name] for name in names], dtype=np.float64)
    mix = [[GROUNDS[ground].mix.get(name, 0.0) for name in names] for ground in grounds]
    return product(np.array(mix), table)
