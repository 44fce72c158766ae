"""What the labels of a cache say of its pairs: their names, and which items answer a query."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from crbench.data.cache.reading import Cache


def label_names(cache: Cache, row: int) -> list[str]:
    """Names of the labels of one pair; empty for unlabelled sets and empty label sets."""
    classes = cache.card.labels.classes
    if cache.labels is None:
        return []
    if cache.card.labels.kind == "multi":
        return [classes[index] for index in np.flatnonzero(cache.labels[row])]
    return [classes[int(cache.labels[row])]]


def relevant(cache: Cache, query: int, items: np.ndarray) -> np.ndarray:
    """Which of ``items`` (cache rows) are relevant to ``query``, as (len(items),) bool: its own
    pair where the set has no labels, else items of its class, with a label of its, or near it."""
    kind, labels = cache.card.labels.kind, cache.labels
    if kind == "place":
        return distances(cache, query, items) <= cache.card.labels.radius_m
    if kind == "none" or labels is None:
        return np.asarray(items) == query
    if kind == "multi":
        return np.asarray((labels[items].astype(bool) & labels[query].astype(bool)).any(axis=1))
    return np.asarray(labels[items] == labels[query])


def distances(cache: Cache, query: int, items: np.ndarray) -> np.ndarray:
    """Metres on the ground from ``query`` to ``items`` (cache rows), (len(items),) float64."""
    assert cache.positions is not None
    return np.asarray(np.linalg.norm(cache.positions[items] - cache.positions[query], axis=1))
