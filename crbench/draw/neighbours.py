"""The nearest items of some queries in every direction of an evaluated run, as they are drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crbench.words import DIRECTIONS, SAME_MODAL

if TYPE_CHECKING:
    from crbench.cards import ProtocolCard
    from crbench.data.cache.reading import Cache
    from crbench.embedding.file import Embeddings


@dataclass(frozen=True)
class Neighbours:
    """Top items of one query in one direction: cache rows and cosine scores, best first."""

    direction: str
    query: int
    items: np.ndarray
    scores: np.ndarray


def neighbours_of(
    cache: Cache, embeddings: Embeddings, protocol: ProtocolCard, queries: np.ndarray, k: int
) -> list[Neighbours]:
    """Top ``k`` of each query (cache rows) in every direction, as the scorer ranks them."""
    from crbench.scoring import top_k

    gallery = cache.rows(protocol.gallery)
    query_ids, gallery_ids = cache.ids[queries], cache.ids[gallery]
    groups = None
    if protocol.exclude == "place" and cache.places is not None:
        groups = cache.places[queries], cache.places[gallery]
    lines = []
    for direction in (d for d in DIRECTIONS if d in embeddings.serves):
        query_name, gallery_name = embeddings.serves[direction]
        positions, scores = top_k(
            embeddings.of(query_name, query_ids),
            embeddings.of(gallery_name, gallery_ids),
            k,
            query_ids,
            gallery_ids,
            exclude_self=direction in SAME_MODAL,
            groups=groups,
        )
        lines += [
            Neighbours(direction, int(row), gallery[positions[i]], scores[i])
            for i, row in enumerate(queries)
        ]
    return lines
