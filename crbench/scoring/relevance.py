"""What says that a gallery item answers a query: its labels, or how near it lies on the ground.

Items with equal labels (at one place) are interchangeable, so everything is computed per distinct
label set or position ("code") and looked up. Codes sort by content, hence do not depend on the
order of the items.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crbench.scoring.protocol import Items


@dataclass(frozen=True)
class Relevance:
    """Codes of the queries ``(Nq,)`` and the gallery ``(Ng,)`` into the distinct label sets.

    ``sets`` holds them as ``(U, C)`` of 0 and 1 (``kind`` multi), as classes ``(U, 1)`` (single) or
    as positions ``(U, 3)`` in metres (place), of which those within ``radius_m`` are relevant.
    """

    kind: str
    query: np.ndarray
    gallery: np.ndarray
    sets: np.ndarray
    radius_m: float = 0.0


def relevance_of(query: Items, gallery: Items, label_kind: str) -> Relevance | None:
    """Codes of two checked item sets; None for an unlabelled set."""
    if label_kind == "place":
        both = np.concatenate([np.asarray(query.positions), np.asarray(gallery.positions)])
        keys = both
    elif label_kind == "none" or query.labels is None or gallery.labels is None:
        return None
    else:
        both = np.concatenate([query.labels, gallery.labels])
        keys = np.packbits(both, axis=1) if label_kind == "multi" else both[:, None]
    keys, codes = np.unique(keys, axis=0, return_inverse=True)
    codes = codes.reshape(-1).astype(np.int64)
    sets = keys
    if label_kind == "multi":
        sets = np.unpackbits(keys, axis=1, count=both.shape[1])
    radius = query.radius_m or 0.0
    halves = codes[: len(query)], codes[len(query) :]
    return Relevance(label_kind, *halves, sets.astype(np.float64), radius)


def judge_labels(relevance: Relevance, code: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Of a query with label set ``code`` against every set: relevant ``(U,)`` bool, and values.

    Values ``(3, U)`` are P = |Q∩R|/|R|, R' = |Q∩R|/|Q| and F1 of the two, in [0, 1], 0 where a set
    is empty; None for single labels and places.
    """
    sets, own = relevance.sets, relevance.sets[code]
    if relevance.kind == "place":
        x, y, z = (sets - own).T  # in this order, so that no library's sum decides
        return x * x + y * y + z * z <= relevance.radius_m**2, None
    if relevance.kind == "single":
        return sets[:, 0] == own[0], None
    shared, sizes, size = sets @ own, sets.sum(axis=1), own.sum()  # whole numbers: exact
    values = np.empty((3, len(sizes)))
    values[0] = shared / np.maximum(sizes, 1.0)
    values[1] = shared / max(size, 1.0)
    values[2] = 2.0 * shared / np.maximum(sizes + size, 1.0)
    return shared > 0, values


def gain_of_labels(relevance: Relevance, code: int) -> np.ndarray:
    """What each label set is worth to a query of set ``code`` in nDCG, (U,): 2^|Q∩R| − 1."""
    return np.asarray(2.0 ** (relevance.sets @ relevance.sets[code]) - 1)
