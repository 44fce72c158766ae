"""FAISS for the nearest items of large galleries; the scores that come back are ours.

``flat`` searches everything in float32, ``ivf`` some cells of a coarse grid, ``hnsw`` a graph of
neighbours (Malkov & Yashunin 2018). Each proposes candidates; those are scored exactly and put in
order by score, then id, as in the exact search. On GPUs where FAISS has them (not ``hnsw``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from crbench.errors import unknown
from crbench.scoring.metrics import RankingTask
from crbench.scoring.tiles import GRID_BITS

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


def exact_scores(query: np.ndarray, gallery: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Cosines (n, C) float32 of codes ``query`` (n, D) with gallery ``rows`` (n, C).

    Those of ``tiles.score_tile`` to the bit; of row −1 they mean nothing.
    """
    left, right = gallery[rows].astype(np.float64), query.astype(np.float64)[:, :, None]
    product = np.matmul(left, right)[:, :, 0]
    return (product * 2.0 ** (-2 * GRID_BITS)).astype(np.float32)


def _unit(codes: np.ndarray) -> Any:
    return np.ldexp(codes.astype(np.float32), -GRID_BITS)
