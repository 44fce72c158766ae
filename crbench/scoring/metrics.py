"""Per-query values of one direction, and what they come to over the queries.

A block of queries is scored against the whole gallery, each row is sorted once and only numbers are
kept: memory is one block of scores, never queries × gallery.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from crbench.errors import UserError
from crbench.scoring import gains, ranking
from crbench.scoring.engine import Engine, RankBlock, rows_in_memory
from crbench.scoring.protocol import Items, positions_of
from crbench.scoring.relevance import (
    Relevance,
    gain_of_labels,
    judge_labels,
    relevance_of,
)
from crbench.scoring.tiles import GALLERY_TILE, QUERY_TILE, Map, score_tile
from crbench.words import PAIR_KS, SAME_MODAL

ITEM_METRICS = ("label_p", "label_r", "f1_item")  # rows of relevance.judge_labels's values
WHOLE_METRICS = ("map", "mrr", "r_precision", "map_r")  # of the whole list: ranking.whole_list
HERE = Engine()
_CHUNK = 8  # rows per task: small enough to share out evenly
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class RankingTask:
    """One direction to rank: relevance by label, the query's own row in the gallery, cut-offs.

    ``own`` (Nq,) is the gallery position left out of a query's ranking, ``pair`` (Nq,) the one that
    ``pair_r`` looks for, both −1 where there is none; ``pair`` is None in same-modal directions.
    Where the own pair is left out, it is ``own`` in every direction, and nothing is left to find.
    ``groups`` holds codes of the queries' (Nq,) and the gallery's (Ng,) groups, where the items of
    a query's group are left out; then there is no ``own`` and no ``pair`` inside the group.
    """

    direction: str
    relevance: Relevance | None
    own: np.ndarray
    pair: np.ndarray | None
    ks: tuple[int, ...]
    n_gallery: int
    groups: tuple[np.ndarray, np.ndarray] | None = None

    @property
    def kind(self) -> str:
        """Label kind: none, single, multi or place."""
        return "none" if self.relevance is None else self.relevance.kind

    @property
    def sizes(self) -> np.ndarray:
        """Items ranked for each query, ``(Nq,)``."""
        return self.n_gallery - self.n_left_out

    @property
    def n_left_out(self) -> np.ndarray:
        """Gallery items left out of each query's ranking, ``(Nq,)``."""
        count = (self.own >= 0).astype(np.int64)
        if self.groups is None:
            return count
        query, gallery = self.groups
        top = 1 + max(int(query.max()), int(gallery.max()))
        return np.asarray(count + np.bincount(gallery, minlength=top)[query])

    def left(self, query: int, present: np.ndarray) -> np.ndarray:
        """Of ``present`` (U,) items of the gallery by code, those ranked for one query."""
        assert self.relevance is not None
        codes = self.relevance.gallery[self.left_out(query)]
        return present - np.bincount(codes, minlength=len(present))

    def left_out(self, query: int) -> np.ndarray:
        """Gallery positions left out of the ranking of one query."""
        own = int(self.own[query])
        alone = np.array([own] if own >= 0 else [], np.int64)
        if self.groups is None:
            return alone
        same = np.flatnonzero(self.groups[1] == self.groups[0][query])
        return np.concatenate([alone, same])


@dataclass(frozen=True)
class PerQuery:
    """Values of each query in one direction, in the order of ``ids`` (sorted); NaN = undefined.

    ``values`` maps a metric's name to float64 ``(Nq,)``; ``tied_share`` is the share of scores that
    equal another of the same query. ``blocks`` (Nq,) of str, where intervals draw blocks;
    ``pair_rank`` (Nq,), expected rank of the own pair, from 1 on, NaN without one.
    """

    direction: str
    ids: np.ndarray
    values: dict[str, np.ndarray]
    tied_share: float
    blocks: np.ndarray | None = None
    pair_rank: np.ndarray | None = None


def make_task(
    direction: str, query: Items, gallery: Items, kind: str, ks: Sequence[int]
) -> RankingTask:
    """The task of ``direction`` on two checked item sets; UserError where nothing is to rank."""
    same = positions_of(query.ids, gallery.ids)
    none = np.full(len(query), -1, np.int64)
    own, pair = (same, None) if direction in SAME_MODAL else (none, same)
    if query.leave_pair and pair is not None:
        own, pair = same, none
    relevance = relevance_of(query, gallery, kind)
    groups = None
    if query.groups is not None and gallery.groups is not None:
        codes = np.unique(np.concatenate([query.groups, gallery.groups]), return_inverse=True)[1]
        groups = codes[: len(query)], codes[len(query) :]
        inside = (same >= 0) & (groups[1][same] == groups[0])  # left out with its group
        own = np.where(inside, -1, own)
        pair = None if pair is None else np.where(inside, -1, pair)
    task = RankingTask(direction, relevance, own, pair, tuple(ks), len(gallery), groups)
    alone = np.flatnonzero(task.sizes == 0)
    if len(alone):
        left_out, of = (
            (" itself", "") if groups is None else ("'s group", ", of at least two groups")
        )
        raise UserError(
            f"the gallery is empty once the query{left_out} is left out",
            where=f"direction {direction}, query row {alone[0]} (id '{query.ids[alone[0]]}')",
            fix=f"give a gallery of at least two items{of}",
        )
    return task


def metric_names(direction: str, kind: str, ks: Sequence[int]) -> list[str]:
    """Names of the metrics of a direction, in the order of the record."""
    names = [] if kind == "none" else ["map"] + [f"p@{k}" for k in ks]
    if kind == "multi":
        for base in ("f1_item", "f1_query", "f1_dataset", "label_p", "label_r"):
            names += [f"{base}@{k}" for k in ks]
    if kind != "none":
        names += [*WHOLE_METRICS[1:], *(f"ndcg@{k}" for k in ks)]
    if direction not in SAME_MODAL:
        names += [f"pair_r@{k}" for k in PAIR_KS]
    return names


@dataclass(frozen=True)
class QueryValues:
    """What ranking finds for each query, NaN where undefined; K cut-offs: ``RankingTask.ks``."""

    whole: np.ndarray  # (Nq, 4): map, mrr, r_precision, map_r
    precision: np.ndarray  # (Nq, K)
    gain: np.ndarray  # (Nq, K): ndcg
    items: np.ndarray  # (3, Nq, K): label_p, label_r, f1_item
    pair: np.ndarray  # (Nq, len(PAIR_KS) + 1): pair_r, and the expected rank


def empty_values(task: RankingTask) -> QueryValues:
    """All NaN, to be filled."""
    n, k = len(task.own), len(task.ks)
    shapes = (
        (n, len(WHOLE_METRICS)), (n, k), (n, k), (len(ITEM_METRICS), n, k), (n, len(PAIR_KS) + 1)
    )  # fmt: skip
    return QueryValues(*(np.full(shape, np.nan) for shape in shapes))


def rank_rows(
    task: RankingTask, queries: np.ndarray, scores: np.ndarray, filled: QueryValues, run: Map
) -> int:
    """Fill ``filled`` for ``queries`` (n,) from their ``scores`` (n, Ng); returns the tied scores.

    What is left out of a ranking is set to −inf in ``scores``. Queries with equal labels should
    follow each other: the relevant items are then looked up once.
    """
    ks, pair_ks = np.asarray(task.ks), np.asarray(PAIR_KS)
    tied = np.zeros(len(queries), np.int64)

    def chunk(start: int) -> None:
        last_code, judged, at = -1, None, np.empty(0, np.int64)
        worth = present = at
        for row in range(start, min(start + _CHUNK, len(queries))):
            q, line = int(queries[row]), scores[row]
            left_out = task.left_out(q)
            line[left_out] = -np.inf
            ascending = np.sort(line)[len(left_out) :]
            flags = ranking.repeats(ascending)
            tied[row] = ranking.count_tied(flags)
            if task.pair is not None and task.pair[q] >= 0:
                counts = ranking.counts_of_one(ascending, line[task.pair[q]])
                filled.pair[q] = ranking.pair_values(*counts, pair_ks)
            if task.relevance is None:
                continue
            code = int(task.relevance.query[q])
            if code != last_code:
                relevant, judged = judge_labels(task.relevance, code)
                at, last_code = np.flatnonzero(relevant[task.relevance.gallery]), code
                if judged is not None:
                    worth = gain_of_labels(task.relevance, code)
                    present = np.bincount(task.relevance.gallery, minlength=len(worth))
            hits = np.sort(line[at])
            hits = hits[hits.searchsorted(-np.inf, side="right") :]
            cut = ranking.cuts(ascending, ks)
            filled.precision[q] = ranking.precision_at(cut, hits)
            found = ranking.find_hits(ascending, hits, flags) if len(hits) else None
            if found is not None:
                filled.whole[q] = ranking.whole_list(found)
            if judged is None:
                filled.gain[q] = gains.binary_gain(found, cut.k)
                continue
            counted = ranking.items_that_count(cut, line, task.relevance.gallery)
            filled.items[:, q] = ranking.means_from_items(cut, *counted, judged)
            filled.gain[q] = gains.graded_gain(
                cut, *counted, worth, gains.best_gain(worth, task.left(q, present), cut.k)
            )

    run(chunk, range(0, len(queries), _CHUNK))
    return int(tied.sum())


def rank_here(
    task: RankingTask,
    query: np.ndarray,
    gallery: np.ndarray,
    filled: QueryValues,
    run: Map,
) -> tuple[int, RankBlock]:
    """The ranker of this machine's processor: numpy, on the threads of ``run``."""
    rows = rows_in_memory(len(gallery), QUERY_TILE)
    buffer = np.empty((rows, len(gallery)), np.float32)

    def rank_block(block: np.ndarray) -> int:
        scores = score_tile(query[block], gallery, buffer, run, (rows, GALLERY_TILE))
        return rank_rows(task, block, scores, filled, run)

    return rows, rank_block


def measure(
    task: RankingTask,
    ids: np.ndarray,
    query: np.ndarray,
    gallery: np.ndarray,
    run: Map,
    *,
    progress: Progress | None = None,
    engine: Engine = HERE,
) -> PerQuery:
    """Rank every query; ``query`` (Nq, D), ``gallery`` (Ng, D) are codes of ``tiles.fixed_point``.

    ``ids`` (Nq,) are the queries' ids; the result stands in their sorted order. ``engine`` says
    where it is done and by how many processes; ``progress`` hears of this process's share.
    """
    n = len(query)
    filled = empty_values(task)
    codes = np.zeros(n, np.int64) if task.relevance is None else task.relevance.query
    order = np.argsort(codes, kind="stable")  # equal labels together
    mine = engine.share(order, QUERY_TILE)
    rows, rank_block = (engine.ranker or rank_here)(task, query, gallery, filled, run)
    tied = 0
    for start in range(0, len(mine), rows):
        tied += rank_block(mine[start : start + rows])
        if progress is not None:
            progress(task.direction, min(start + rows, len(mine)), len(mine))
    by_query = [
        filled.whole,
        filled.precision,
        filled.gain,
        filled.items.swapaxes(0, 1),
        filled.pair,
    ]
    tied = engine.gather(by_query, mine, tied)
    return named_values(task, ids, filled, tied / int(task.sizes.sum()))


def named_values(task: RankingTask, ids: np.ndarray, filled: QueryValues, tied: float) -> PerQuery:
    """Per-query values by name, by sorted id, with f1_query, which follows from two others."""
    columns = dict(zip(WHOLE_METRICS, filled.whole.T, strict=True))
    for j, k in enumerate(task.ks):
        columns[f"p@{k}"] = filled.precision[:, j]
        columns[f"ndcg@{k}"] = filled.gain[:, j]
        for name, item in zip(ITEM_METRICS, filled.items, strict=True):
            columns[f"{name}@{k}"] = item[:, j]
        columns[f"f1_query@{k}"] = harmonic_mean(filled.items[0, :, j], filled.items[1, :, j])
    for j, k in enumerate(PAIR_KS):
        columns[f"pair_r@{k}"] = filled.pair[:, j]
    names = metric_names(task.direction, task.kind, task.ks)
    order = np.argsort(ids, kind="stable")
    values = {name: columns[name][order] for name in names if name in columns}
    rank = filled.pair[order, -1] if task.pair is not None else None
    return PerQuery(task.direction, ids[order], values, tied, pair_rank=rank)


def harmonic_mean(p: np.ndarray, r: np.ndarray) -> np.ndarray:
    """2pr / (p + r), 0 where both are 0, NaN where one is NaN."""
    total = np.asarray(p + r)
    return np.asarray(2.0 * p * r / np.where(total == 0, 1.0, total))


def add_derived(means: dict[str, np.ndarray], ks: Sequence[int]) -> dict[str, np.ndarray]:
    """``means`` with f1_dataset@k, the harmonic mean of the means of label_p@k and label_r@k."""
    derived = dict(means)
    for k in ks:
        if f"label_p@{k}" in means:
            p, r = means[f"label_p@{k}"], means[f"label_r@{k}"]
            derived[f"f1_dataset@{k}"] = harmonic_mean(p, r)
    return derived


def mean_arrays(
    values: Mapping[str, np.ndarray], ks: Sequence[int], rows: np.ndarray | None = None
) -> dict[str, np.ndarray]:
    """Mean of each metric over ``rows`` (default all) in their order: 0-d, NaN where undefined."""
    plain = {}
    for name, column in values.items():
        part = column if rows is None else column[rows]
        part = part[~np.isnan(part)]
        plain[name] = np.asarray(part.sum() / len(part) if len(part) else np.nan)
    return add_derived(plain, ks)


def means(
    values: Mapping[str, np.ndarray], ks: Sequence[int], rows: np.ndarray | None = None
) -> dict[str, float | None]:
    """:func:`mean_arrays` as numbers for a record, None where undefined."""
    arrays = mean_arrays(values, ks, rows)
    return {name: None if np.isnan(value) else float(value) for name, value in arrays.items()}
