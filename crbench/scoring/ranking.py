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


@dataclass(frozen=True)
class Hits:
    """The relevant items of one query, in ascending order of their scores, m ≥ 1 of them.

    ``at_least`` (m,): items with this score or a higher one; ``tied`` (m,) bool: whether other
    items share it; ``above(i)``: items with a higher score than the relevant ones at ``i``. Counts
    alone, so that every device comes to the same bits.
    """

    at_least: np.ndarray
    tied: np.ndarray
    above: Callable[[np.ndarray], np.ndarray]

    def groups(self) -> Groups:
        """The tied ones by their score; empty where there are none."""
        at = np.flatnonzero(self.tied)
        if not len(at):
            none = np.empty(0, np.int64)
            return Groups(none, none, none, none)
        starts = np.flatnonzero(
            np.concatenate([[True], self.at_least[at][1:] != self.at_least[at][:-1]])
        )
        first = at[starts]
        hits = np.diff(np.append(starts, len(at)))  # all of a group's relevant items are tied
        return Groups(first, self.at_least[first], self.above(first), hits)


@dataclass(frozen=True)
class Groups:
    """Relevant items that share their score with others, by score, ascending, each (G,): the
    position of the first of them among all, items with this score or a higher one, items with a
    higher one, and how many of them are relevant."""

    first: np.ndarray
    at_least: np.ndarray
    above: np.ndarray
    hits: np.ndarray


def find_hits(ascending: np.ndarray, relevant: np.ndarray, flags: np.ndarray) -> Hits:
    """Of all scores ``ascending`` (n,), those of the ``relevant`` items (m,), sorted, of the same
    dtype; ``flags`` is :func:`repeats` of the former."""
    n = len(ascending)
    below = ascending.searchsorted(relevant)

    def above(first: np.ndarray) -> np.ndarray:
        return np.asarray(n - ascending.searchsorted(relevant[first], side="right"))

    return Hits(n - below, flags[below], above)


def whole_list(hits: Hits) -> tuple[float, float, float, float]:
    """Expected AP, reciprocal rank of the first relevant item, R-precision and MAP@R, in (0, 1].

    With R = m relevant items: R-precision is the share of them among the first R; MAP@R sums the
    precisions at the relevant items of the first R, over R (Musgrave et al. 2020, "A Metric
    Learning Reality Check", arXiv 2003.08505, section 3.1).
    """
    at_least, m = hits.at_least, len(hits.at_least)
    precision = np.arange(m, 0, -1, dtype=np.float64) / at_least
    inside = at_least <= m
    if not hits.tied.any():
        kept = precision[inside]
        return (
            float(precision.sum() / m), float(1 / at_least[-1]), len(kept) / m,
            float(kept.sum() / m),
        )  # fmt: skip
    groups = hits.groups()
    size = groups.at_least - groups.above
    shared, early = _tied_sums(groups, m)
    alone = ~hits.tied
    r_hits = np.count_nonzero(inside & alone)
    r_tied = (groups.hits * recall_from_counts(groups.above, size, np.float64(m))).sum()
    first = 1 / at_least[-1]
    if hits.tied[-1]:
        first = reciprocal_first(groups.above[-1], size[-1], groups.hits[-1])
    return (
        float((precision[alone].sum() + shared) / m),
        float(first),
        float((r_hits + r_tied) / m),
        float((precision[alone & inside].sum() + early) / m),
    )


def _tied_sums(groups: Groups, m: int) -> tuple[float, float]:
    """Sums of expected precisions over the tied relevant items: all of them, and those that stand
    among the first ``m``."""
    size = groups.at_least - groups.above
    hits, hits_above = groups.hits, m - groups.first - groups.hits
    group = np.repeat(np.arange(len(size)), size)
    i = np.arange(len(group)) - np.repeat(np.cumsum(size) - size, size)  # position in group, from 0
    # at position i: relevant with probability hits/size, and then (hits−1)/(size−1) of each before
    slope = (hits - 1) / (size - 1)
    hits_so_far = (hits_above + 1)[group] + i * slope[group]
    rank = groups.above[group] + 1 + i
    terms = hits_so_far / rank * (hits / size)[group]
    return float(terms.sum()), float(terms[rank <= m].sum())


def reciprocal_first(above: int, size: int, hits: int) -> float:
    """E[1 / rank] of the first of ``hits`` relevant items among ``size`` of equal score, below
    ``above`` others of which none is relevant.

    It stands at position i of its group with probability p₁ = h/s, p_{i+1} = p_i (s−i−h+1)/(s−i).
    """
    i = np.arange(1, size - hits + 1)
    ratios = (size - i - hits + 1) / (size - i)
    chance = hits / size * np.concatenate([[1.0], np.cumprod(ratios)])
    return float((chance / (above + 1 + np.arange(len(chance)))).sum())


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


def counts_of_one(ascending: np.ndarray, score: np.floating) -> tuple[int, int]:
    """Items with a higher score than one item's, and how many share it."""
    right = ascending.searchsorted(score, side="right")
    return int(len(ascending) - right), int(right - ascending.searchsorted(score))


def pair_values(above: int, size: int, ks: np.ndarray) -> np.ndarray:
    """Probability that one of ``size`` items below ``above`` others is in the top k, and its
    expected rank, (K + 1,)."""
    return np.append(recall_from_counts(above, size, ks), above + (size + 1) / 2)


def recall_from_counts(
    above: int | np.ndarray, size: int | np.ndarray, ks: np.ndarray | np.floating
) -> np.ndarray:
    """Probability of one of ``size`` equal scores below ``above`` others to be in the top k."""
    return np.asarray(np.clip((ks - above) / size, 0.0, 1.0))


def items_that_count(
    cut: Cuts, scores: np.ndarray, codes: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores and codes of the items above the last cut's score, and the codes of those at it.

    ``scores`` (n,) and ``codes`` (n,) stand in gallery order.
    """
    last = cut.score[-1]
    better = np.flatnonzero(scores > last)  # fewer than the largest k
    return scores[better], codes[better], codes[np.flatnonzero(scores == last)]


def means_from_items(
    cut: Cuts, scores: np.ndarray, codes: np.ndarray, level: np.ndarray, values: np.ndarray
) -> np.ndarray:
    """Expected mean of item values over the top k, ``(V, K)``, from the items that count, in any
    order (:func:`items_that_count`); an item's values are ``values[:, code]`` (V, U).

    The group that straddles rank k contributes its mean.
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
