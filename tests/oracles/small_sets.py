"""Small random sets with many ties, and short ways to score them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from crbench.scoring import Items, score_directions
from crbench.words import DIRECTIONS

KS = (1, 2, 5)
TITLES = ["field", "wood", "town"]
RADIUS_M = 100.0  # the place itself and the four beside it


def ids_of(n: int, prefix: str = "p") -> np.ndarray:
    return np.array([f"{prefix}{i:03d}" for i in range(n)])


def make(
    seed: int, n: int, width: int = 2, kind: str = "multi", levels: int | None = 2
) -> tuple[dict[str, np.ndarray], Items]:
    """Embeddings of a and b and the items; whole numbers of few ``levels`` give many ties."""
    rng = np.random.default_rng(seed)
    parts = {}
    for m in "ab":
        if levels is None:
            parts[m] = rng.standard_normal((n, width)).astype(np.float32)
        else:
            parts[m] = rng.integers(-levels, levels + 1, (n, width)).astype(np.float32)
            parts[m][~parts[m].any(axis=1), 0] = 1.0
    labels = {
        "multi": (rng.random((n, 3)) < 0.5).astype(np.uint8),
        "single": rng.integers(0, 3, n),
        "none": None,
        "place": None,
    }[kind]
    if kind == "place":  # on a grid of 100 m, so that some stand at one place
        positions = rng.integers(0, 5, (n, 3)) * np.array([100.0, 100.0, 0.0])
        return parts, Items(ids_of(n), positions=positions, radius_m=RADIUS_M)
    return parts, Items(ids_of(n), labels)


def pairs(parts: dict[str, np.ndarray], query: Any = slice(None), gallery: Any = slice(None)):
    return {d: (parts[d[0]][query], parts[d[1]][gallery]) for d in DIRECTIONS}


def score(parts, items: Items, kind: str = "multi", **more: Any) -> dict[str, Any]:
    more.setdefault("ks", KS)
    classes = () if kind in ("none", "place") else TITLES
    return score_directions(pairs(parts), items, items, label_kind=kind, classes=classes, **more)


def values(result: dict[str, Any], direction: str) -> dict[str, float | None]:
    return {name: cell["value"] for name, cell in result["scores"][direction].items()}


def text(result: dict[str, Any]) -> str:
    return json.dumps(result, sort_keys=True, allow_nan=False)
