"""The best that a ranking can do when it is known how likely each item is to be relevant.

Items are ranked by the expected relevance, given what the query's and the gallery's sensor see of
them (the probability ranking principle; Robertson 1977), and scored with the true labels. No score
of a query and an item that follows from what the two sensors see has a higher expectation of P@k,
or of the item-level F1 where that is what is expected. Average precision is not a mean over items:
there the ranking is an approximation of the best.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from crbench.scoring.engine import Engine, RankBlock
from crbench.scoring.metrics import PerQuery, QueryValues, RankingTask, measure, rank_rows
from crbench.scoring.tiles import QUERY_TILE, Map, workers

_DIGITS = 12  # expectations that agree to this are the same: their ties are no order
_KNOWN = 2.0  # above every expectation


@dataclass(frozen=True)
class Expected:
    """``table`` (Vq, Vg): expected relevance of an item by what is seen of the query and of it;
    ``query`` (Nq,) and ``gallery`` (Ng,) are the rows and columns. ``known`` (Nq,) bool: the
    query's own pair is recognised, whatever is expected of it."""

    table: np.ndarray
    query: np.ndarray
    gallery: np.ndarray
    known: np.ndarray


def best_ranking(task: RankingTask, ids: np.ndarray, expected: Expected) -> PerQuery:
    """Values per query of ``task`` when items are ranked by ``expected``; ``ids`` (Nq,)."""
    table = np.round(expected.table, _DIGITS)

    def ranker(
        task: RankingTask, query: np.ndarray, gallery: np.ndarray, filled: QueryValues, run: Map
    ) -> tuple[int, RankBlock]:
        def rank_block(block: np.ndarray) -> int:
            scores: Any = table[query[block]][:, gallery]
            if task.pair is not None:
                own = (task.pair[block] >= 0) & expected.known[block]
                scores[np.flatnonzero(own), task.pair[block][own]] = _KNOWN
            return rank_rows(task, block, scores, filled, run)

        return QUERY_TILE, rank_block

    with workers(1) as run:
        engine = Engine(ranker=ranker)
        return measure(task, ids, expected.query, expected.gallery, run, engine=engine)
