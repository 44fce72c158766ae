"""Closed forms against every permutation, and against known code where there are no ties."""

from __future__ import annotations

import brute_force as oracle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score

from crbench.scoring import ranking
from crbench.scoring.chance import expected_average_precision as chance_ap

KS = np.array([1, 2, 3, 5, 100])
rows = st.lists(
    st.tuples(st.integers(0, 3), st.booleans(), st.integers(0, 2)), min_size=1, max_size=7
)


def whole(ascending: np.ndarray, hits: np.ndarray) -> tuple[float, ...]:
    """AP, reciprocal rank, R-precision and MAP@R of a sorted row."""
    return ranking.whole_list(ranking.find_hits(ascending, hits, ranking.repeats(ascending)))


def average_precision(ascending: np.ndarray, hits: np.ndarray) -> float:
    return whole(ascending, hits)[0]


def sorted_row(scores: np.ndarray, relevant: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.sort(scores), np.sort(scores[relevant])


@settings(max_examples=150, deadline=None)
@given(rows)
def test_expectations_equal_the_mean_over_all_permutations(row: list) -> None:
    scores = np.array([r[0] for r in row], np.float32)
    relevant = np.array([r[1] for r in row])
    codes = np.array([r[2] for r in row])
    table = np.array([[0.0, 0.3, 1.0], [0.9, 0.1, 0.5]])
    ascending, hits = sorted_row(scores, relevant)
    wanted = set(np.flatnonzero(relevant).tolist())
    cut = ranking.cuts(ascending, KS)
    if wanted:
        for value, of in zip(whole(ascending, hits), oracle.WHOLE.values(), strict=True):
            expected = oracle.expectation(scores.tolist(), lambda o, of=of: of(o, wanted))
            assert value == pytest.approx(expected, abs=1e-12)
    precision = ranking.precision_at(cut, hits)
    means = ranking.means_from_items(cut, *ranking.items_that_count(cut, scores, codes), table)
    pair = ranking.pair_values(*ranking.counts_of_one(ascending, scores[0]), KS)
    rank = oracle.expectation(scores.tolist(), lambda o: o.index(0) + 1)
    assert pair[-1] == pytest.approx(rank, abs=1e-12)
    for j, k in enumerate(KS):
        for found, value in (
            (precision[j], lambda o, k=k: oracle.precision_at(o, wanted, k)),
            (means[0, j], lambda o, k=k: oracle.mean_at(o, table[0, codes], k)),
            (means[1, j], lambda o, k=k: oracle.mean_at(o, table[1, codes], k)),
            (pair[j], lambda o, k=k: float(0 in o[:k])),
        ):
            assert found == pytest.approx(oracle.expectation(scores.tolist(), value), abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(rows, st.integers(-20, 20), st.randoms(use_true_random=False))
def test_values_do_not_depend_on_scale_by_powers_of_two_or_on_order(row, power, random) -> None:
    def values(entries: list, factor: float) -> bytes:
        scores = np.array([r[0] - 1 for r in entries], np.float32) / 7 * np.float32(factor)
        relevant = np.array([r[1] for r in entries])
        codes = np.array([r[2] for r in entries])
        ascending, hits = sorted_row(scores, relevant)
        cut = ranking.cuts(ascending, KS)
        table = np.array([[0.1, 1 / 3, 1.0]])
        counted = ranking.items_that_count(cut, scores, codes)
        parts = [
            np.array(whole(ascending, hits) if len(hits) else []),
            ranking.precision_at(cut, hits),
            ranking.means_from_items(cut, *counted, table),
        ]
        return b"".join(np.ascontiguousarray(p).tobytes() for p in parts)

    shuffled = list(row)
    random.shuffle(shuffled)
    assert values(row, 1.0) == values(shuffled, 2.0**power)


@pytest.mark.parametrize("n", [1, 2, 17, 4001])
def test_equals_scikit_learn_and_pytrec_eval_without_ties(n: int) -> None:
    pytrec_eval = pytest.importorskip("pytrec_eval")
    rng = np.random.default_rng(n)
    for share in (0.02, 0.5, 1.0):
        scores = (rng.permutation(n).astype(np.float32) - n // 2) / np.float32(4096)  # distinct
        relevant = rng.random(n) < share
        relevant[rng.integers(n)] = True
        ascending, hits = sorted_row(scores, relevant)
        ap = average_precision(ascending, hits)
        assert ap == pytest.approx(average_precision_score(relevant, scores), abs=1e-9)
        names = [f"d{i}" for i in range(n)]
        judge = pytrec_eval.RelevanceEvaluator(
            {"q": {d: int(r) for d, r in zip(names, relevant, strict=True)}},
            {"map", "P.5,20", "recip_rank", "Rprec"},
        )
        theirs = judge.evaluate({"q": dict(zip(names, scores.tolist(), strict=True))})["q"]
        assert ap == pytest.approx(theirs["map"], abs=1e-9)
        _, first, at_r, _ = whole(ascending, hits)
        assert first == pytest.approx(theirs["recip_rank"], abs=1e-9)
        assert at_r == pytest.approx(theirs["Rprec"], abs=1e-9)
        at = ranking.precision_at(ranking.cuts(ascending, np.array([5, 20])), hits)
        assert at[0] * min(5, n) / 5 == pytest.approx(theirs["P_5"], abs=1e-9)
        assert at[1] * min(20, n) / 20 == pytest.approx(theirs["P_20"], abs=1e-9)


@pytest.mark.parametrize(("n", "m"), [(1, 1), (2, 1), (50, 7), (3000, 3000), (3000, 40)])
def test_constant_scores_give_chance(n: int, m: int) -> None:
    scores = np.zeros(n, np.float32)
    harmonic = (1.0 / np.arange(1, n + 1)).sum()
    found = average_precision(scores, scores[:m])
    assert found == pytest.approx(chance_ap(n, m, harmonic), abs=1e-12)
    if m == n:
        assert found == pytest.approx(1.0, abs=1e-12)
    cut = ranking.cuts(scores, KS)
    assert ranking.precision_at(cut, scores[:m]) == pytest.approx(m / n, abs=1e-12)


def test_chance_equals_the_mean_of_random_rankings() -> None:
    rng = np.random.default_rng(0)
    ranks = np.sort(rng.random((20_000, 30)).argsort(axis=1)[:, :6] + 1, axis=1)
    drawn = (np.arange(1, 7) / ranks).mean(axis=1)
    expected = chance_ap(30, 6, (1.0 / np.arange(1, 31)).sum())
    error = np.std(drawn) / np.sqrt(len(drawn))
    assert abs(np.mean(drawn) - expected) < 5 * error


def test_perfect_scores_give_one_and_worst_scores_the_least() -> None:
    relevant = np.arange(40) < 10
    scores = relevant.astype(np.float32)  # two levels, tied inside
    ascending, hits = sorted_row(scores, relevant)
    assert average_precision(ascending, hits) == pytest.approx(1.0, abs=1e-15)
    ascending, hits = sorted_row(-scores, relevant)
    least = average_precision_score(relevant, np.concatenate([np.arange(10), np.arange(10, 40)]))
    assert least - 1e-9 < average_precision(ascending, hits) < 0.25


def test_negative_scores_count_like_positive_ones() -> None:
    scores = np.array([-0.1, -0.2, -0.3, -0.4], np.float32)
    relevant = np.array([True, False, True, False])
    ascending, hits = sorted_row(scores, relevant)
    assert average_precision(ascending, hits) == pytest.approx((1 + 2 / 3) / 2)


def test_tied_scores_are_counted() -> None:
    def count(*values: float) -> int:
        return ranking.count_tied(ranking.repeats(np.sort(np.array(values, np.float32))))

    assert count(1) == 0
    assert count(1, 2, 3) == 0
    assert count(1, 1, 3) == 2
    assert count(0.0, -0.0, 3, 5, 5, 5) == 5
