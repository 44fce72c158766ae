"""nDCG against every permutation, and against known code where there are no ties."""

from __future__ import annotations

import brute_force as oracle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import ndcg_score

from crbench.scoring import gains, ranking

KS = np.array([1, 2, 3, 5, 100])
rows = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), min_size=1, max_size=7)


def found(scores: np.ndarray, codes: np.ndarray, table: np.ndarray, ks: np.ndarray) -> np.ndarray:
    cut = ranking.cuts(np.sort(scores), ks)
    counts = np.bincount(codes, minlength=len(table))
    ideal = gains.best_gain(table, counts, cut.k)
    counted = ranking.items_that_count(cut, scores, codes)
    return gains.graded_gain(cut, *counted, table, ideal)


def binary(scores: np.ndarray, relevant: np.ndarray, ks: np.ndarray) -> np.ndarray:
    ascending, hits = np.sort(scores), np.sort(scores[relevant])
    k = ranking.cuts(ascending, ks).k
    if not len(hits):
        return gains.binary_gain(None, k)
    return gains.binary_gain(ranking.find_hits(ascending, hits, ranking.repeats(ascending)), k)


@settings(max_examples=150, deadline=None)
@given(rows)
def test_expectations_equal_the_mean_over_all_permutations(row: list) -> None:
    scores, codes = np.array([r[0] for r in row], np.float32), np.array([r[1] for r in row])
    for table, value in (
        (np.array([0.0, 1.0, 3.0]), found(scores, codes, np.array([0.0, 1.0, 3.0]), KS)),
        (np.array([0.0, 0.0, 1.0]), binary(scores, codes == 2, KS)),
        (np.array([0.0, 0.0, 1.0]), found(scores, codes, np.array([0.0, 0.0, 1.0]), KS)),
    ):
        worth = table[codes]
        for j, k in enumerate(KS):
            if not worth.any():
                assert np.isnan(value[j])
                continue
            expected = oracle.expectation(
                scores.tolist(), lambda o, k=k, w=worth: oracle.ndcg(o, w, k)
            )
            assert value[j] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("n", [3, 60, 4000])
def test_equals_scikit_learn_without_ties(n: int) -> None:
    rng = np.random.default_rng(n)
    scores = rng.permutation(n).astype(np.float32)
    codes, table = rng.integers(0, 4, n), np.array([0.0, 1.0, 3.0, 7.0])
    ks = np.array([1, 2, 3]) if n == 3 else np.array([1, 5, 10, 50])
    for k, graded, plain in zip(
        ks, found(scores, codes, table, ks), binary(scores, codes == 3, ks), strict=True
    ):
        if codes.any():
            assert graded == pytest.approx(ndcg_score([table[codes]], [scores], k=k), abs=1e-9)
        if (codes == 3).any():  # without a gain nDCG is undefined; scikit-learn says 0
            assert plain == pytest.approx(ndcg_score([codes == 3], [scores], k=k), abs=1e-9)


def test_a_constant_scorer_gains_the_mean_and_a_perfect_one_everything() -> None:
    codes, table = np.arange(40) % 4, np.array([0.0, 1.0, 3.0, 7.0])
    dead = found(np.zeros(40, np.float32), codes, table, np.array([5]))
    ideal = gains.best_gain(table, np.full(4, 10), np.array([5]))
    assert dead == pytest.approx(2.75 * gains.discounts(5)[5] / ideal)
    assert found(table[codes].astype(np.float32), codes, table, np.array([1, 5, 40])).tolist() == [
        1, 1, 1,
    ]  # fmt: skip
    assert gains.discounts(2).tolist() == [0, 1, 1 + 1 / np.log2(3)]
