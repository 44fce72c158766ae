"""What a query's labels say about a gallery item: relevant or not, and P, R', F1 of label sets.

Items with equal labels are interchangeable, so everything is computed per distinct label set
("code") and looked up. Codes sort by content, hence do not depend on the order of the items.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crbench.scoring.protocol import Items


@dataclass(frozen=True)
class Relevance:
    """Codes of the queries ``(Nq,)`` and the gallery ``(Ng,)`` into the distinct label sets.

    ``sets`` holds them as ``(U, C)`` of 0 and 1 (multi-label) or as classes ``(U, 1)`` (single).
    """

    multi: bool
    query: np.ndarray
    gallery: np.ndarray
    sets: np.ndarray


def relevance_of(query: Items, gallery: Items, label_kind: str) -> Relevance | None:
    """Codes of two checked item sets; None for an unlabelled set."""
    if label_kind == "none" or query.labels is None or gallery.labels is None:
        return None
    multi = label_kind == "multi"
    both = np.concatenate([query.labels, gallery.labels])
    keys = np.packbits(both, axis=1) if multi else both[:, None]
    keys, codes = np.unique(keys, axis=0, return_inverse=True)
    codes = codes.reshape(-1).astype(np.int64)
    sets = np.unpackbits(keys, axis=1, count=both.shape[1]) if multi else keys
    return Relevance(multi, codes[: len(query)], codes[len(query) :], sets.astype(np.float64))


def judge_labels(relevance: Relevance, code: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Of a query with label set ``code`` against every set: relevant ``(U,)`` bool, and values.

    Values ``(3, U)`` are P = |Q∩R|/|R|, R' = |Q∩R|/|Q| and F1 of the two, in [0, 1], 0 where a set
    is empty; None for single labels.
    """
    sets, own = relevance.sets, relevance.sets[code]
    if not relevance.multi:
        return sets[:, 0] == own[0], None
    shared, sizes, size = sets @ own, sets.sum(axis=1), own.sum()  # whole numbers: exact
    values = np.empty((3, len(sizes)))
    values[0] = shared / np.maximum(sizes, 1.0)
    values[1] = shared / max(size, 1.0)
    values[2] = 2.0 * shared / np.maximum(sizes + size, 1.0)
    return shared > 0, values
