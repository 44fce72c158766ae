"""Ceilings of a synthetic twin: the best ranking of those who know what each sensor sees.

Computed from the generator's factors, as chance is from the labels, and never a measured row.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from crbench.data.cache.reading import Cache
from crbench.data.sources.synthetic.factors import Factors
from crbench.data.sources.synthetic.second import twin_factors
from crbench.records import Direction
from crbench.scoring import Items
from crbench.scoring.ceiling import Expected, best_ranking
from crbench.scoring.metrics import make_task, means
from crbench.scoring.protocol import positions_of
from crbench.words import SAME_MODAL


def ceilings(
    data: Cache, query: Items, gallery: Items, directions: Sequence[str], ks: Sequence[int]
) -> dict[Direction, dict[str, float | None]]:
    """The ceiling of each metric that one has, as fractions by direction.

    ``map`` and ``p@k`` rank by the probability that labels are shared, ``f1_item@k`` by its
    expectation. Across sensors the own pair is recognised by its layout, unless the ground changed.
    """
    factors, kind = twin_factors(data.card), data.card.labels.kind
    rows = {role: positions_of(items.ids, data.ids)
            for role, items in (("query", query), ("gallery", gallery))}  # fmt: skip
    result: dict[Direction, dict[str, float | None]] = {}
    for direction in directions:
        task = make_task(direction, query, gallery, kind, ks)
        found: dict[str, float | None] = {}
        for relevance, wanted in _relevances(factors, kind).items():
            expected = _expected(factors, direction, wanted, rows["query"], rows["gallery"])
            values = means(best_ranking(task, query.ids, expected).values, ks)
            found |= {m: v for m, v in values.items() if m.partition("@")[0] in relevance}
        result[cast(Direction, direction)] = found
    return result


def _relevances(factors: Factors, kind: str) -> dict[tuple[str, ...], np.ndarray]:
    """What an item of scene v is worth to a query of scene u, (U, U), by the metrics it is for."""
    sets = factors.sets.astype(np.float64)
    shared, sizes = sets @ sets.T, sets.sum(axis=1)
    worth: dict[tuple[str, ...], np.ndarray] = {("map", "p"): (shared > 0).astype(np.float64)}
    if kind == "multi":
        worth[("f1_item",)] = 2 * shared / (sizes[:, None] + sizes)
    return worth


def _expected(
    factors: Factors, direction: str, worth: np.ndarray, query: np.ndarray, gallery: np.ndarray
) -> Expected:
    mine, theirs = direction[0], direction[1]
    table = factors.posterior(mine) @ worth @ factors.posterior(theirs).T
    seen = {m: factors.seen(m)[1] for m in (mine, theirs)}
    known = np.zeros(len(query), bool) if direction in SAME_MODAL else ~factors.changed[query]
    return Expected(table, seen[mine][query], seen[theirs][gallery], known)
