"""Closed-form expected ranking values of one query under ties.

Equal scores stand in a uniformly random order; each value is the expectation over it
(McSherry & Najork 2008, "Computing information retrieval performance measures efficiently in the
presence of tied scores"). Rows come sorted in ascending order: one sort per query, the relevant
items' ranks follow by binary search. All arithmetic runs in an order given by the scores and the
label sets, never by the position of an item, so that values are equal to the byte for any order of
the gallery.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


def repeats(ascending: np.ndarray) -> np.ndarray:
    """Bool ``(n,)``: is an item of a sorted row followed by an equal one."""
    flags = np.zeros(len(ascending), bool)
    np.equal(ascending[1:], ascending[:-1], out=flags[:-1])
    return flags


def count_tied(flags: np.ndarray) -> int:
    """Items of a sorted row that share their score, from :func:`repeats`."""
    if not flags.any():
        return 0
    return int(np.count_nonzero(flags[1:] | flags[:-1]) + flags[0])


def average_precision(
    ascending: np.ndarray, relevant: np.ndarray, flags: np.ndarray | None = None
) -> float:
    """Expected AP of one query, in (0, 1]; NaN without a relevant item.

    ``ascending`` (n,) holds all scores sorted, ``relevant`` (m,) those of the relevant items,
    sorted, of the same dtype; ``flags`` is :func:`repeats` of the former.
    """
    n, m = len(ascending), len(relevant)
    if m == 0:
        return float("nan")
    below = ascending.searchsorted(relevant)
    if flags is None:
        flags = repeats(ascending)

    def above(first: np.ndarray) -> np.ndarray:
        return np.asarray(n - ascending.searchsorted(relevant[first], side="right"))

    return average_precision_from_counts(n - below, flags[below], above)


def average_precision_from_counts(
    at_least: np.ndarray, tied: np.ndarray, above: Callable[[np.ndarray], np.ndarray]
) -> float:
    """:func:`average_precision` from counts alone, so that every device comes to the same bits.

    Of the relevant items in ascending order, m ≥ 1 of them: ``at_least`` (m,) is the number of
    items with this score or a higher one, ``tied`` (m,) whether other items share the score, and
    ``above(i)`` the number of items with a higher score than the relevant items at ``i``.
    """
    m = len(at_least)
    hits_so_far = np.arange(m, 0, -1, dtype=np.float64)  # relevant items at this rank or above
    precision = hits_so_far / at_least
    if not tied.any():
        return float(precision.sum() / m)
    at = np.flatnonzero(tied)
    starts = np.flatnonzero(np.concatenate([[True], at_least[at][1:] != at_least[at][:-1]]))
    first = at[starts]
    hits = np.diff(np.append(starts, len(at)))  # all of a group's relevant items are tied
    shared = _tied_sum(at_least[first], above(first), hits, first, m)
    return float((precision[~tied].sum() + shared) / m)


def _tied_sum(
    at_least: np.ndarray, above: np.ndarray, hits: np.ndarray, first: np.ndarray, m: int
) -> float:
    """Sum of expected precisions over the relevant items that share their score with others.

    Per group of equal scores: items with this score or a higher one, items with a higher one,
    relevant items of the group, and the position of the first of them among all ``m``.
    """
    size = at_least - above
    hits_above = m - first - hits
    group = np.repeat(np.arange(len(first)), size)
    i = np.arange(len(group)) - np.repeat(np.cumsum(size) - size, size)  # position in group, from 0
    # at position i: relevant with probability hits/size, and then (hits−1)/(size−1) of each before
    slope = (hits - 1) / (size - 1)
    hits_so_far = (hits_above + 1)[group] + i * slope[group]
    return float((hits_so_far / (above[group] + 1 + i) * (hits / size)[group]).sum())


@dataclass(frozen=True)
class Cuts:
    """Where the top k of a sorted row ends, for several k, each array ``(K,)``.

    The group of equal scores at rank k has ``size`` items below ``above`` strictly better ones, of
    which ``taken`` = k − above are in the top k.
    """

    k: np.ndarray
    score: np.ndarray
    above: np.ndarray
    size: np.ndarray

    @property
    def taken(self) -> np.ndarray:
        return np.asarray(self.k - self.above)


def cuts(ascending: np.ndarray, ks: np.ndarray) -> Cuts:
    """Cuts at the ascending ``ks``; a k beyond the gallery is the gallery's size."""
    n = len(ascending)
    k = np.minimum(ks, n)
    score = ascending[n - k]
    right = ascending.searchsorted(score, side="right")
    return Cuts(k, score, n - right, right - ascending.searchsorted(score))


def precision_at(cut: Cuts, relevant: np.ndarray) -> np.ndarray:
    """Expected share of relevant items in the top k, ``(K,)``; ``relevant`` (m,) sorted scores."""
    right = relevant.searchsorted(cut.score, side="right")
    tied = right - relevant.searchsorted(cut.score)
    return precision_from_counts(cut, len(relevant) - right, tied)


def precision_from_counts(cut: Cuts, better: np.ndarray, tied: np.ndarray) -> np.ndarray:
    """:func:`precision_at` from the relevant items above the cut's score and those at it, (K,)."""
    return np.asarray((better + cut.taken * tied / cut.size) / cut.k)


def recall_of_one(ascending: np.ndarray, score: np.floating, ks: np.ndarray) -> np.ndarray:
    """Probability that one item with this ``score`` is in the top k, ``(K,)``."""
    right = ascending.searchsorted(score, side="right")
    return recall_from_counts(len(ascending) - right, right - ascending.searchsorted(score), ks)


def recall_from_counts(above: int, size: int, ks: np.ndarray) -> np.ndarray:
    """:func:`recall_of_one` from the items ``above`` its score and the ``size`` of its group."""
    return np.asarray(np.clip((ks - above) / size, 0.0, 1.0))


def means_at(cut: Cuts, scores: np.ndarray, codes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Expected mean of item values over the top k: ``(V, K)``.

    ``scores`` (n,) and ``codes`` (n,) stand in gallery order, an item's values are
    ``values[:, code]`` (V, U). The group that straddles rank k contributes its mean.
    """
    last = cut.score[-1]
    better = np.flatnonzero(scores > last)  # fewer than the largest k
    level = np.flatnonzero(scores == last)
    return means_from_items(cut, scores[better], codes[better], codes[level], values)


def means_from_items(
    cut: Cuts, scores: np.ndarray, codes: np.ndarray, level: np.ndarray, values: np.ndarray
) -> np.ndarray:
    """:func:`means_at` from the items that count, in any order.

    ``scores`` (n,) and ``codes`` (n,) are those of the items above the last cut's score, ``level``
    the codes of the items at it.
    """
    # inside equal scores by label set, for the floating-point sum to be the same for any order
    codes = codes[np.lexsort((codes, -scores))]
    total = np.zeros((len(values), len(codes) + 1))
    np.cumsum(values[:, codes], axis=1, out=total[:, 1:])
    if len(level) == 1:
        rest = values[:, level]
    else:
        counts = np.bincount(level, minlength=values.shape[1])
        rest = (values * counts).sum(axis=1, keepdims=True) / len(level)  # mean of the last group
    final = cut.above == len(codes)
    end = np.minimum(cut.above + cut.size, len(codes))
    group = np.where(final, rest, (total[:, end] - total[:, cut.above]) / cut.size)
    whole = ~final & (cut.k == end)  # whole groups only: no need to take a group apart
    sums = np.where(whole, total[:, end], total[:, cut.above] + cut.taken * group)
    return np.asarray(sums / cut.k)
