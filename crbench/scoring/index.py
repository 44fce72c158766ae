"""FAISS for the nearest items of large galleries; the scores that come back are ours.

A query's candidates stand for its ranking where the gallery is too large to be ranked. How good
they are is measured on a sample of queries and belongs to every number made from them.

``flat`` searches everything in float32, ``ivf`` some cells of a coarse grid, ``hnsw`` a graph of
neighbours (Malkov & Yashunin 2018). Each proposes candidates; those are scored exactly and put in
order by score, then id, as in the exact search. On GPUs where FAISS has them (not ``hnsw``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from crbench.errors import unknown
from crbench.scoring import ranking
from crbench.scoring.engine import rows_in_memory
from crbench.scoring.gains import best_gain, graded_gain
from crbench.scoring.metrics import (
    WHOLE_METRICS,
    PerQuery,
    RankingTask,
    empty_values,
    named_values,
)
from crbench.scoring.relevance import gain_of_labels, judge_labels
from crbench.scoring.tiles import GALLERY_TILE, GRID_BITS, QUERY_TILE, score_tile, workers
from crbench.words import PAIR_KS

INDEX_KINDS = ("flat", "ivf", "hnsw")
_MARGIN = 8  # candidates beyond k, for scores that float32 puts in another order
_PER_CELL = 39  # training vectors a cell, below which FAISS warns
_TRAINED_ON = 48  # training vectors a cell at most, and ten rounds: more change recall little
_GPU_MOST = 2_048  # neighbours that FAISS on a GPU returns at most
_ROWS = 64  # queries whose candidates are scored at a time


@dataclass(frozen=True)
class Candidates:
    """Nearest items of each query, best first: rows (Nq, C) of the gallery, −1 after the last,
    and their exact scores (Nq, C) float32, −inf there."""

    rows: np.ndarray
    scores: np.ndarray


@dataclass
class Index:
    """A FAISS index of a gallery (Ng, D) of ``tiles.fixed_point`` codes, and how it was made."""

    kind: str
    gallery: np.ndarray
    wanted: int  # neighbours a query that the search is tuned for
    parameters: dict[str, int] = field(init=False, default_factory=dict)
    faiss: Any = field(init=False)

    def __post_init__(self) -> None:
        import faiss

        if self.kind not in INDEX_KINDS:
            raise unknown("index", self.kind, INDEX_KINDS)
        n, width = self.gallery.shape
        metric = faiss.METRIC_INNER_PRODUCT
        unit = _unit(self.gallery)
        if self.kind == "flat":
            self.faiss = faiss.IndexFlatIP(width)
        elif self.kind == "hnsw":
            neighbours, build, search = 32, 200, max(256, 2 * self.wanted)
            self.faiss = faiss.IndexHNSWFlat(width, neighbours, metric)
            self.faiss.hnsw.efConstruction, self.faiss.hnsw.efSearch = build, search
            self.parameters = {"m": neighbours, "ef_construction": build, "ef_search": search}
        else:
            cells = int(np.clip(round(4 * n**0.5), 1, max(1, n // _PER_CELL)))
            probed = min(cells, 16 + cells // 16)
            self.faiss = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, cells, metric)
            self.faiss.cp.min_points_per_centroid = 1
            self.faiss.cp.niter = 10
            self.faiss.cp.max_points_per_centroid = _TRAINED_ON
            self.faiss.nprobe = probed
            self.faiss.train(unit)
            self.parameters = {"nlist": cells, "nprobe": probed}
        gpus = int(faiss.get_num_gpus())
        if gpus and self.kind != "hnsw" and self.wanted <= _GPU_MOST:
            self.faiss = faiss.index_cpu_to_all_gpus(self.faiss)
            self.parameters["gpus"] = gpus
        self.faiss.add(unit)

    def propose(self, query: np.ndarray, count: int) -> np.ndarray:
        """Gallery rows (n, count) likely near ``query`` (n, D) codes, −1 where too few."""
        most = _GPU_MOST if "gpus" in self.parameters else len(self.gallery)
        _, rows = self.faiss.search(_unit(query), min(count, most, len(self.gallery)))
        return np.asarray(rows, np.int64)


def nearest_candidates(
    index: Index, task: RankingTask, query: np.ndarray, by_id: np.ndarray
) -> Candidates:
    """Candidates of every query (Nq, D) codes, scored exactly; ties in the order of ``by_id``.

    What ``task`` leaves out of a query's ranking is no candidate. A query for which the index
    proposes fewer than ``index.wanted`` items is searched exactly.
    """
    out = task.n_gallery - task.sizes  # left out, per query
    width = min(index.wanted + _MARGIN, int(task.sizes.max()))
    wanted = np.minimum(index.wanted, task.sizes)
    rows = np.full((len(query), width), -1, np.int64)
    scores = np.full((len(query), width), -np.inf, np.float32)
    for start in range(0, len(query), _ROWS):
        block = slice(start, min(start + _ROWS, len(query)))
        proposed = index.propose(query[block], width + int(out[block].max()))
        exact = exact_scores(query[block], index.gallery, proposed)
        for i, q in enumerate(range(block.start, block.stop)):
            near, values = proposed[i], exact[i]
            kept = (near >= 0) & ~np.isin(near, task.left_out(q))
            near, values = near[kept], values[kept]
            if len(near) < wanted[q]:
                near = np.setdiff1d(np.arange(task.n_gallery), task.left_out(q))
                values = exact_scores(query[q : q + 1], index.gallery, near[None])[0]
            order = np.lexsort((by_id[near], -values))[:width]
            rows[q, : len(order)] = near[order]
            scores[q, : len(order)] = values[order]
    return Candidates(rows, scores)


def measure_candidates(task: RankingTask, ids: np.ndarray, candidates: Candidates) -> PerQuery:
    """Values per query, as :func:`metrics.measure` gives them, without ``map``."""
    values = empty_values(task)
    ks, tied, total = np.asarray(task.ks), 0, 0
    for q in range(len(candidates.rows)):
        kept = candidates.rows[q] >= 0
        near, line = candidates.rows[q][kept], candidates.scores[q][kept]
        ascending = line[::-1]
        tied += ranking.count_tied(ranking.repeats(ascending))
        total += len(near)
        if task.pair is not None and task.pair[q] >= 0:
            at = np.flatnonzero(near == task.pair[q])
            values.pair[q, :-1] = 0.0  # the rank of one that was not proposed is not known
            if len(at):
                counts = ranking.counts_of_one(ascending, line[at[0]])
                values.pair[q] = ranking.pair_values(*counts, np.asarray(PAIR_KS))
        if task.relevance is None:
            continue
        codes = task.relevance.gallery[near]
        relevant, judged = judge_labels(task.relevance, int(task.relevance.query[q]))
        cut = ranking.cuts(ascending, ks)
        values.precision[q] = ranking.precision_at(cut, ascending[relevant[codes][::-1]])
        worth = relevant.astype(np.float64)
        counted = ranking.items_that_count(cut, line, codes)
        if judged is not None:
            values.items[:, q] = ranking.means_from_items(cut, *counted, judged)
            worth = gain_of_labels(task.relevance, int(task.relevance.query[q]))
        present = np.bincount(task.relevance.gallery, minlength=len(worth))
        best = best_gain(worth, task.left(q, present), cut.k)
        values.gain[q] = graded_gain(cut, *counted, worth, best)
    part = named_values(task, ids, values, tied / max(total, 1))
    for name in WHOLE_METRICS:  # they need the ranks of all relevant items
        part.values.pop(name, None)
    return replace(part, pair_rank=None)


def recall(
    task: RankingTask,
    query: np.ndarray,
    gallery: np.ndarray,
    candidates: Candidates,
    rows: np.ndarray,
    threads: int | None = None,
) -> dict[str, float]:
    """Recall@k of the candidates of the queries at ``rows``, against exact scores of everything."""
    reached: dict[str, list[float]] = {str(k): [] for k in task.ks}
    for q, line in exact_rows(task, query, gallery, rows, threads):
        ascending = np.sort(line)
        for k in task.ks:
            top = min(k, int(task.sizes[q]))
            least = ascending[len(ascending) - top]
            reached[str(k)].append(float((candidates.scores[q, :top] >= least).mean()))
    return {k: float(np.mean(values)) for k, values in reached.items()}


def exact_rows(
    task: RankingTask,
    query: np.ndarray,
    gallery: np.ndarray,
    queries: np.ndarray,
    threads: int | None = None,
) -> Iterator[tuple[int, np.ndarray]]:
    """Each of ``queries`` (n,) with its scores (Ng,), −inf for what is left out of its ranking."""
    size = rows_in_memory(len(gallery), QUERY_TILE)
    buffer = np.empty((size, len(gallery)), np.float32)
    with workers(threads) as run:
        for start in range(0, len(queries), size):
            block = queries[start : start + size]
            scores = score_tile(query[block], gallery, buffer, run, (size, GALLERY_TILE))
            for q, line in zip(block.tolist(), scores, strict=True):
                line[task.left_out(q)] = -np.inf
                yield q, line


def exact_scores(query: np.ndarray, gallery: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Cosines (n, C) float32 of codes ``query`` (n, D) with gallery ``rows`` (n, C).

    Those of ``tiles.score_tile`` to the bit; of row −1 they mean nothing.
    """
    left, right = gallery[rows].astype(np.float64), query.astype(np.float64)[:, :, None]
    product = np.matmul(left, right)[:, :, 0]
    return (product * 2.0 ** (-2 * GRID_BITS)).astype(np.float32)


def _unit(codes: np.ndarray) -> Any:
    return np.ldexp(codes.astype(np.float32), -GRID_BITS)
