"""Analytic chance: the value of each metric when every score is tied, in closed form."""

from __future__ import annotations

import numpy as np

from crbench.scoring.gains import best_gain, discounts
from crbench.scoring.metrics import PerQuery, QueryValues, RankingTask, empty_values, named_values
from crbench.scoring.ranking import reciprocal_first
from crbench.scoring.relevance import Relevance, gain_of_labels, judge_labels
from crbench.words import PAIR_KS


def chance(task: RankingTask, ids: np.ndarray) -> PerQuery:
    """Expected values of a random ranking for every query of ``task``; ``ids`` (Nq,)."""
    expected = empty_values(task)
    sizes = task.sizes
    if task.pair is not None:
        paired = task.pair >= 0
        expected.pair[paired, :-1] = np.minimum(np.asarray(PAIR_KS) / sizes[paired][:, None], 1.0)
        expected.pair[paired, -1] = (sizes[paired] + 1) / 2
    if task.relevance is not None:
        _by_label(task, task.relevance, expected)
    return named_values(task, ids, expected, float("nan"))


def _by_label(task: RankingTask, relevance: Relevance, expected: QueryValues) -> None:
    """Queries with the same labels, own item or none, and group have the same chance."""
    counts = np.bincount(relevance.gallery, minlength=len(relevance.sets))
    harmonic = np.concatenate([[0.0], np.cumsum(1.0 / np.arange(1, task.n_gallery + 1))])
    own_code = np.where(task.own >= 0, relevance.gallery[task.own], -1)
    group = np.full(len(own_code), -1) if task.groups is None else task.groups[0]
    alike = np.stack([relevance.query, own_code, group], axis=1)
    keys, member, sizes = np.unique(alike, axis=0, return_inverse=True, return_counts=True)
    rows = np.split(np.argsort(member.reshape(-1), kind="stable"), np.cumsum(sizes)[:-1])
    for (code, own, group_code), at in zip(keys.tolist(), rows, strict=True):
        relevant, judged = judge_labels(relevance, code)
        present = counts.copy()
        if own >= 0:
            present[own] -= 1
        if task.groups is not None:
            inside = relevance.gallery[task.groups[1] == group_code]
            present -= np.bincount(inside, minlength=len(counts))
        n, m = int(present.sum()), int(present[relevant].sum())
        ks = np.minimum(np.asarray(task.ks), n)
        if m:
            expected.whole[at] = (
                expected_average_precision(n, m, harmonic[n]),
                reciprocal_first(0, n, m),
                m / n,
                expected_map_r(n, m, harmonic[m]),
            )
        expected.precision[at] = m / n
        worth = relevant.astype(np.float64)
        if judged is not None:
            worth = gain_of_labels(relevance, code)
        best = best_gain(worth, present, ks)
        random = (worth * present).sum() / n * discounts(int(ks[-1]))[ks]
        expected.gain[at] = np.where(best > 0, random / np.where(best > 0, best, 1), np.nan)
        if judged is not None:
            expected.items[:, at] = ((judged * present).sum(axis=1) / n)[:, None, None]


def expected_average_precision(n: int, m: int, harmonic: float) -> float:
    """Expected AP of a random order of ``n`` items, ``m`` of them relevant, H_n = ``harmonic``.

    The item at rank i is relevant with probability m/n, and then each earlier one with (m−1)/(n−1):
    AP = (1/n) Σ_i (1 + (i−1)(m−1)/(n−1)) / i.
    """
    if n == 1:
        return 1.0
    return float((harmonic + (m - 1) / (n - 1) * (n - harmonic)) / n)


def expected_map_r(n: int, m: int, harmonic: float) -> float:
    """Expected MAP@R of a random order of ``n`` items, m = R of them relevant, H_m = ``harmonic``.

    The sum of :func:`expected_average_precision` up to rank m alone.
    """
    if n == 1:
        return 1.0
    return float((harmonic + (m - 1) / (n - 1) * (m - harmonic)) / n)
