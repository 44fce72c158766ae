"""Tables of the synthetic twins: what grounds look like, and which occur together.

Numbers are hand-made after the usual shape of Sentinel-2 spectra and Sentinel-1 backscatter.
They make plausible scenes; they are measurements of nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

S2_BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")

# Reflectance × 10,000 of pure grounds, one value per band of S2_BANDS.
ENDMEMBERS: dict[str, tuple[float, ...]] = {
    "leaf": (250, 300, 560, 340, 950, 2450, 3000, 3200, 3400, 3400, 1700, 800),
    "needle": (190, 220, 360, 240, 560, 1450, 1750, 1850, 1950, 1950, 950, 420),
    "straw": (480, 580, 880, 1080, 1450, 1850, 2050, 2250, 2450, 2550, 2850, 1950),
    "soil": (680, 830, 1120, 1450, 1700, 1850, 2000, 2150, 2300, 2350, 2950, 2450),
    "lake": (480, 470, 480, 300, 270, 220, 210, 180, 160, 150, 90, 65),
    "sea": (460, 380, 250, 130, 100, 80, 75, 68, 62, 58, 36, 25),
    "built": (1100, 1250, 1420, 1550, 1700, 1850, 1950, 2100, 2150, 2200, 2400, 2150),
    "sand": (1500, 1800, 2300, 2650, 2850, 2950, 3050, 3150, 3250, 3250, 3700, 3300),
    "cloud": (3600, 3650, 3600, 3600, 3650, 3700, 3700, 3700, 3750, 3600, 2600, 2100),
}


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


GROUNDS: dict[str, Ground] = {
    "arable": Ground({"soil": 0.5, "leaf": 0.5}, -12.5, -20.5, growth=0.25, rough=0.05, grain=6),
    "patchwork": Ground(
        {"soil": 0.35, "leaf": 0.45, "straw": 0.2}, -9.5, -18.0, growth=0.12, rough=0.25, grain=10
    ),
    "hedged farmland": Ground(
        {"leaf": 0.6, "straw": 0.25, "soil": 0.15}, -11.5, -16.5, growth=0.1, rough=0.18, grain=7
    ),
    "orchard": Ground({"leaf": 0.5, "soil": 0.5}, -8.0, -15.5, growth=0.1, rough=0.1, rows=0.3),
    "pasture": Ground({"leaf": 0.7, "straw": 0.3}, -15.0, -22.5, growth=0.15, rough=0.05, grain=5),
    "wooded farmland": Ground(
        {"straw": 0.5, "leaf": 0.4, "soil": 0.1}, -13.0, -18.5, rough=0.26, grain=14
    ),
    "broad-leaved": Ground({"leaf": 1.0}, -6.5, -11.5, rough=0.12, grain=14),
    "coniferous": Ground({"needle": 1.0}, -9.2, -12.8, rough=0.14, grain=16),
    "mixed forest": Ground({"leaf": 0.5, "needle": 0.5}, -6.0, -14.0, rough=0.2, grain=10),
    "grassland": Ground({"straw": 0.85, "soil": 0.15}, -17.5, -24.0, rough=0.08, grain=6),
    "heath": Ground({"straw": 0.4, "needle": 0.45, "soil": 0.15}, -14.5, -17.0, rough=0.15),
    "shrub": Ground(
        {"leaf": 0.5, "needle": 0.15, "straw": 0.35}, -10.5, -14.8, rough=0.24, grain=9
    ),
    "sand": Ground({"sand": 1.0}, -20.0, -23.0, rough=0.06, grain=5, form="blob"),
    "salt marsh": Ground(
        {"sea": 0.45, "leaf": 0.25, "straw": 0.3}, -16.5, -19.5, rough=0.25, form="blob"
    ),
    "marsh": Ground({"lake": 0.3, "leaf": 0.5, "straw": 0.2}, -5.5, -19.5, rough=0.22, form="blob"),
    "lake": Ground({"lake": 1.0}, -23.0, -29.0, rough=0.04, grain=4, form="blob"),
    "sea": Ground({"sea": 1.0}, -17.5, -28.5, rough=0.06, grain=12, form="blob"),
    "town": Ground({"built": 0.6, "leaf": 0.2, "soil": 0.2}, -3.5, -10.0, rough=0.3, form="grid"),
    "industry": Ground({"built": 0.9, "sand": 0.1}, -0.5, -13.0, rough=0.4, form="grid"),
    "river": Ground({"lake": 0.9, "leaf": 0.1}, -19.0, -25.5, rough=0.04, form="band"),
    "road": Ground({"built": 0.8, "soil": 0.2}, -15.5, -23.0, rough=0.05, form="band"),
    "ponds": Ground({"lake": 0.85, "soil": 0.15}, -17.0, -24.0, rough=0.35, form="grid"),
    "cloud": Ground({"cloud": 1.0}, -12.0, -19.0, rough=0.25, grain=4, form="blob"),
    "towers": Ground({"built": 0.85, "lake": 0.15}, -1.5, -10.0, rough=0.55, form="grid"),
}


@dataclass(frozen=True)
class World:
    """Classes of one benchmark. ``grounds``: class name → key of GROUNDS, in any order.

    ``themes`` (multi-label): share of the scenes and weights of the classes that meet in them.
    ``around`` (single-label): grounds that may fill the rest of a scene.
    """

    grounds: dict[str, str]
    themes: tuple[tuple[float, dict[str, float]], ...] = ()
    around: tuple[str, ...] = ()


_LAND = "Land principally occupied by agriculture, with significant areas of natural vegetation"
_MOORS = "Moors, heathland and sclerophyllous vegetation"
_GRASS = "Natural grassland and sparsely vegetated areas"
_INDUSTRY = "Industrial or commercial units"
_COMPLEX = "Complex cultivation patterns"
_SHRUB = "Transitional woodland, shrub"

WORLDS: dict[str, World] = {
    "ben-14k": World(
        grounds={
            "Agro-forestry areas": "wooded farmland",
            "Arable land": "arable",
            "Beaches, dunes, sands": "sand",
            "Broad-leaved forest": "broad-leaved",
            "Coastal wetlands": "salt marsh",
            _COMPLEX: "patchwork",
            "Coniferous forest": "coniferous",
            _INDUSTRY: "industry",
            "Inland waters": "lake",
            "Inland wetlands": "marsh",
            _LAND: "hedged farmland",
            "Marine waters": "sea",
            "Mixed forest": "mixed forest",
            _MOORS: "heath",
            _GRASS: "grassland",
            "Pastures": "pasture",
            "Permanent crops": "orchard",
            _SHRUB: "shrub",
            "Urban fabric": "town",
        },
        themes=(
            (
                0.46,
                {
                    "Arable land": 9,
                    _COMPLEX: 1.6,
                    _LAND: 0.9,
                    "Urban fabric": 0.9,
                    "Pastures": 0.6,
                    "Inland waters": 0.4,
                    "Permanent crops": 0.4,
                },
            ),
            (
                0.25,
                {
                    "Broad-leaved forest": 7,
                    _SHRUB: 1.4,
                    "Mixed forest": 0.8,
                    "Coniferous forest": 0.7,
                    _LAND: 0.5,
                    _GRASS: 0.4,
                },
            ),
            (0.10, {"Urban fabric": 6, _INDUSTRY: 2, "Arable land": 1.5, _COMPLEX: 0.5}),
            (0.08, {"Inland waters": 5, "Inland wetlands": 2, "Arable land": 1.5}),
            (
                0.06,
                {"Marine waters": 6, "Beaches, dunes, sands": 2, "Coastal wetlands": 1.5},
            ),
            (
                0.05,
                {
                    _MOORS: 2,
                    _GRASS: 1.2,
                    "Agro-forestry areas": 1.6,
                    "Permanent crops": 0.5,
                    "Pastures": 0.7,
                },
            ),
        ),
    ),
    "cbrsir-vs": World(
        grounds={
            "AnnualCrop": "arable",
            "Forest": "mixed forest",
            "HerbaceousVegetation": "shrub",
            "Highway": "road",
            "Industrial": "industry",
            "Pasture": "pasture",
            "PermanentCrop": "orchard",
            "Residential": "town",
            "River": "river",
            "SeaLake": "lake",
        },
        around=("arable", "pasture", "hedged farmland", "grassland", "broad-leaved"),
    ),
    "dsrsid": World(
        grounds={
            "aquafarm": "ponds",
            "cloud": "cloud",
            "forest": "broad-leaved",
            "high building": "towers",
            "low building": "town",
            "farm land": "arable",
            "river": "river",
            "water": "sea",
        },
        around=("arable", "pasture", "hedged farmland", "patchwork", "shrub"),
    ),
}


def spectra(grounds: list[str]) -> np.ndarray:
    """Mean reflectance × 10,000 of each ground, (n, 12) float64, bands as in S2_BANDS."""
    names = list(ENDMEMBERS)
    table = np.array([ENDMEMBERS[name] for name in names], dtype=np.float64)
    mix = [[GROUNDS[ground].mix.get(name, 0.0) for name in names] for ground in grounds]
    return np.array(mix) @ table
