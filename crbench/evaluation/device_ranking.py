"""Exact ranking by torch, on a GPU: the same bits as ``crbench.scoring`` on the processor.

Products of grid vectors are exact float64 sums whatever the order, so that the device's scores are
those of numpy. The device sorts and counts (whole numbers); the few floating-point steps that
follow are numpy's, shared with the ranking on the processor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from crbench.errors import UserError
from crbench.scoring import gains, ranking
from crbench.scoring.engine import RankBlock, Ranker, available_memory
from crbench.scoring.metrics import QueryValues, RankingTask
from crbench.scoring.relevance import gain_of_labels, judge_labels
from crbench.scoring.tiles import GRID_BITS, Map
from crbench.words import PAIR_KS

_BYTES = 96  # on the device per score of a block: scores, sorted scores and places, masks
_GALLERY_TILE = 16_384  # gallery rows that are float64 at a time
_PROBED = 2_048  # gallery rows against which the device's arithmetic is checked
_AT_A_TIME = 4_000_000  # items of equal score taken from the device at a time
_MOST = 4_096  # queries at a time


def ranker_on(device: torch.device, rows: int | None = None) -> Ranker:
    """A ranker for ``scoring.Engine``; ``rows`` queries at a time (default: by memory)."""

    def ranker(
        task: RankingTask,
        query: np.ndarray,
        gallery: np.ndarray,
        values: QueryValues,
        run: Map,
    ) -> tuple[int, RankBlock]:
        held = torch.from_numpy(gallery).to(device)
        _check_arithmetic(query, gallery, held)
        job = _Job(task, query, held, values, run)
        return rows or _rows(device, len(gallery)), job.rank_block

    return ranker


def _rows(device: torch.device, n_gallery: int) -> int:
    """Queries that fit into half of the device's free memory."""
    on_gpu = device.type == "cuda"
    free = torch.cuda.mem_get_info(device)[0] if on_gpu else available_memory()
    return int(np.clip(free // 2 // (_BYTES * n_gallery), 1, _MOST))


def device_scores(query: np.ndarray, gallery: Tensor) -> Tensor:
    """Cosines (n, Ng) float32 on the device of ``gallery``, from codes of ``fixed_point``."""
    left = torch.from_numpy(query).to(gallery.device).double()
    out = torch.empty((len(query), len(gallery)), device=gallery.device)
    for start in range(0, len(gallery), _GALLERY_TILE):
        part = gallery[start : start + _GALLERY_TILE].double()
        product = (left @ part.T).mul_(2.0 ** (-2 * GRID_BITS))
        out[:, start : start + len(part)] = product
    return out


def _check_arithmetic(query: np.ndarray, gallery: np.ndarray, held: Tensor) -> None:
    """UserError unless the device's float64 products are exact, as every IEEE one here must be."""
    few, part = query[:8].astype(np.float64), gallery[:_PROBED].astype(np.float64)
    expected = (few @ part.T * 2.0 ** (-2 * GRID_BITS)).astype(np.float32)
    theirs = device_scores(query[:8], held[:_PROBED]).cpu().numpy()
    if not np.array_equal(theirs, expected):
        raise UserError(
            f"the float64 products of {held.device} are not exact",
            where="--device",
            fix="score on the processor: --device cpu",
        )


@dataclass
class _Job:
    """One direction: what is ranked, and where the values go."""

    task: RankingTask
    query: np.ndarray
    gallery: Tensor
    values: QueryValues
    run: Map

    def rank_block(self, block: np.ndarray) -> int:
        """Rank the queries at ``block`` (n,), equal labels together; the tied scores."""
        line = device_scores(self.query[block], self.gallery)
        out = [self.task.left_out(int(q)) for q in block]
        rows = np.repeat(np.arange(len(block)), [len(positions) for positions in out])
        line[self._on(rows), self._on(np.concatenate(out))] = -torch.inf
        ordered = torch.sort(line, dim=1).values
        same = (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] != -torch.inf)
        edge = torch.zeros_like(same[:, :1])
        tied = (torch.cat([same, edge], 1) | torch.cat([edge, same], 1)).sum()
        self._pairs(block, line, ordered)
        if self.task.relevance is not None:
            codes = self.task.relevance.query[block]
            cuts = self._cuts(block, ordered)
            starts = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]))
            for start, end in zip(starts, [*starts[1:], len(block)], strict=True):
                part = slice(int(start), int(end))
                self._labels(block[part], line[part], ordered[part], cuts[part])
        return int(tied)

    def _on(self, values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.gallery.device)

    def _pairs(self, block: np.ndarray, line: Tensor, ordered: Tensor) -> None:
        if self.task.pair is None:
            return
        rows = np.flatnonzero(self.task.pair[block] >= 0)
        at = self._on(rows)
        score = line[at, self._on(self.task.pair[block[rows]])][:, None]
        above, size = (x[:, 0] for x in _counts(ordered[at], score))
        for row, q in enumerate(block[rows]):
            self.values.pair[q] = ranking.pair_values(
                int(above[row]), int(size[row]), np.asarray(PAIR_KS)
            )

    def _cuts(self, block: np.ndarray, ordered: Tensor) -> list[ranking.Cuts]:
        k = np.minimum(np.asarray(self.task.ks), self.task.sizes[block][:, None])
        score = ordered.gather(1, self._on(ordered.shape[1] - k))
        above, size = _counts(ordered, score)
        scores = score.cpu().numpy()
        return [ranking.Cuts(*row) for row in zip(k, scores, above, size, strict=True)]

    def _labels(
        self, block: np.ndarray, line: Tensor, ordered: Tensor, cuts: list[ranking.Cuts]
    ) -> None:
        """Values by label of queries (n,) that all have the same labels."""
        relevance = self.task.relevance
        assert relevance is not None
        relevant, judged = judge_labels(relevance, int(relevance.query[block[0]]))
        at = self._on(np.flatnonzero(relevant[relevance.gallery]))
        hits = torch.sort(line[:, at], dim=1).values
        above, size = _counts(ordered, hits)
        kept = (hits != -torch.inf).sum(1).cpu().numpy()
        last = self._on(np.stack([cut.score for cut in cuts]))
        better, level = _counts(hits, last)

        def one(row: int) -> None:
            q, cut = int(block[row]), cuts[row]
            high, equal = (x[row, x.shape[1] - kept[row] :] for x in (above, size))
            found = ranking.Hits(high + equal, equal > 1, high.__getitem__) if len(high) else None
            if found is not None:
                self.values.whole[q] = ranking.whole_list(found)
            if judged is None:
                self.values.gain[q] = gains.binary_gain(found, cut.k)
            self.values.precision[q] = ranking.precision_from_counts(cut, better[row], level[row])

        self.run(one, range(len(block)))
        if judged is not None:
            self._items(block, line, cuts, judged)

    def _items(
        self, block: np.ndarray, line: Tensor, cuts: list[ranking.Cuts], judged: np.ndarray
    ) -> None:
        relevance = self.task.relevance
        assert relevance is not None
        worth = gain_of_labels(relevance, int(relevance.query[block[0]]))
        present = np.bincount(relevance.gallery, minlength=len(worth))
        step = max(1, _AT_A_TIME // int(max(cut.size[-1] for cut in cuts)))
        for start in range(0, len(block), step):
            part, scores = cuts[start : start + step], line[start : start + step]
            last = self._on(np.array([cut.score[-1] for cut in part]))[:, None]
            better, values = _picked(scores, scores > last)
            level, _ = _picked(scores, scores == last)
            for i, cut in enumerate(part):
                q = int(block[start + i])
                codes = relevance.gallery[better[i]], relevance.gallery[level[i]]
                counted = values[i], *codes
                self.values.items[:, q] = ranking.means_from_items(cut, *counted, judged)
                best = gains.best_gain(worth, self.task.left(q, present), cut.k)
                self.values.gain[q] = gains.graded_gain(cut, *counted, worth, best)


def _counts(ordered: Tensor, scores: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """How many of each sorted row are higher than each of its ``scores`` (n, m), how many equal."""
    ordered, scores = ordered.contiguous(), scores.contiguous()
    right = torch.searchsorted(ordered, scores, right=True)
    left = torch.searchsorted(ordered, scores)
    above = (ordered.shape[1] - right).to(torch.int32)
    size = (right - left).to(torch.int32)
    return above.cpu().numpy().astype(np.int64), size.cpu().numpy().astype(np.int64)


def _picked(scores: Tensor, mask: Tensor) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Columns and scores of the marked items, row by row."""
    rows, columns = mask.nonzero(as_tuple=True)
    ends = np.cumsum(np.bincount(rows.cpu().numpy(), minlength=len(mask)))[:-1]
    picked = columns.cpu().numpy(), scores[rows, columns].cpu().numpy()
    return np.split(picked[0], ends), np.split(picked[1], ends)
