"""nDCG: expected discounted gain of the top k over that of the best order, under ties.

DCG@k = Σ_{i≤k} gain_i / log₂(1 + i) (Järvelin & Kekäläinen 2002, "Cumulated gain-based evaluation
of IR techniques", in the discount that is usual today). A group of equal scores stands in random
order, so each of its ranks has the group's mean gain. Gain: 1 where an item is relevant; of label
sets 2^|Q∩R| − 1, as multi-label retrieval takes it (Zhao et al. 2015, CVPR, arXiv 1501.06272).
"""

from __future__ import annotations

import numpy as np

from crbench.scoring.ranking import Cuts, Hits


def discounts(most: int) -> np.ndarray:
    """Σ_{i≤k} 1 / log₂(1 + i) for k = 0…most, (most + 1,)."""
    return np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(2, most + 2)))])


def binary_gain(hits: Hits | None, ks: np.ndarray) -> np.ndarray:
    """nDCG at the ascending ``ks`` (K,), gain 1 of relevant items; NaN without one."""
    if hits is None:
        return np.full(len(ks), np.nan)
    total, m = discounts(int(ks[-1])), len(hits.at_least)
    groups, gained = hits.groups(), np.zeros(len(ks))
    alone = hits.at_least[~hits.tied]
    ranks = alone[alone <= ks[-1]]
    if len(ranks):
        by_rank = np.zeros(int(ks[-1]) + 1)
        by_rank[ranks] = np.diff(total, prepend=0.0)[ranks]
        gained += np.cumsum(by_rank)[ks]
    for above, end, count in zip(groups.above, groups.at_least, groups.hits, strict=True):
        if above < ks[-1]:
            share = count / (end - above)
            gained += share * (total[np.minimum(end, ks)] - total[np.minimum(above, ks)])
    return gained / total[np.minimum(m, ks)]


def graded_gain(
    cut: Cuts,
    scores: np.ndarray,
    codes: np.ndarray,
    level: np.ndarray,
    gains: np.ndarray,
    ideal: np.ndarray,
) -> np.ndarray:
    """nDCG at the cuts (K,) from the items that count; NaN where no item has a gain.

    ``scores`` (n,) and ``codes`` (n,) are those of the items above the last cut's score, in any
    order, ``level`` the codes of the items at it; ``gains`` (U,) by code, ``ideal`` (K,) the best
    DCG.
    """
    order = np.lexsort((codes, -scores))
    scores, gained = scores[order], gains[codes[order]]
    total = discounts(int(cut.k[-1]))
    if len(scores):
        starts = np.flatnonzero(np.concatenate([[True], scores[1:] != scores[:-1]]))
        sizes = np.diff(np.append(starts, len(scores)))
        means = np.add.reduceat(gained, starts) / sizes
        gained = np.repeat(means, sizes) * np.diff(total)[: len(scores)]
    whole = np.concatenate([[0.0], np.cumsum(gained)])
    counts = np.bincount(level, minlength=len(gains))
    rest = (gains * counts).sum() / max(len(level), 1)
    found = whole[np.minimum(cut.k, len(scores))]
    found = found + rest * (total[cut.k] - total[np.minimum(cut.k, len(scores))])
    return np.where(ideal > 0, found / np.where(ideal > 0, ideal, 1.0), np.nan)


def best_gain(gains: np.ndarray, counts: np.ndarray, ks: np.ndarray) -> np.ndarray:
    """The best DCG at ``ks`` (K,) of ``counts`` (U,) items with ``gains`` (U,) each."""
    most = int(ks[-1])
    order = np.argsort(-gains, kind="stable")
    taken = np.minimum(counts[order], most)
    best = np.repeat(gains[order], taken)[:most]
    whole = np.concatenate([[0.0], np.cumsum(best * np.diff(discounts(most))[: len(best)])])
    return whole[np.minimum(ks, len(best))]
