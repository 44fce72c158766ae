"""Tests from means and spreads: against scipy, by hand, and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from crbench.scoring.significance import (
    Measured,
    detectable,
    difference_p,
    holm,
    paired_p,
    pooled,
)


def of(values: np.ndarray, low: float | None = None, high: float | None = None) -> Measured:
    return Measured(float(values.mean()), float(values.std(ddof=1)), len(values), low, high)


def test_holm_by_hand() -> None:
    # sorted: .01 × 4, .02 × 3, .03 × 2 = .06 (as before), .04 × 1 = .04, raised to .06
    assert holm({"a": 0.04, "b": 0.01, "c": 0.03, "d": 0.02}) == pytest.approx(
        {"a": 0.06, "b": 0.04, "c": 0.06, "d": 0.06}
    )
    assert holm({"a": 0.6, "b": 0.7}) == {"a": 1.0, "b": 1.0}
    assert holm({"a": 0.03}) == {"a": 0.03}
    assert holm({}) == {}


def test_holm_finds_something_in_nothing_in_one_table_of_twenty() -> None:
    p = np.random.default_rng(0).random((4000, 12))
    wrong = np.mean([min(holm(dict(enumerate(row))).values()) < 0.05 for row in p])
    assert wrong == pytest.approx(0.05, abs=0.012)  # without it: 1 − .95^12 = .46


def test_over_seeds_alone_it_is_welch_and_paired_is_student() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.normal(0.5, 0.01, 3), rng.normal(0.48, 0.03, 5)
    assert difference_p(of(a), of(b)) == pytest.approx(stats.ttest_ind(a, b, equal_var=False)[1])
    d = rng.normal(0.01, 0.02, 4)
    found = paired_p(float(d.mean()), float(d.std(ddof=1)), 4)
    assert found == pytest.approx(stats.ttest_1samp(d, 0)[1])
    assert paired_p(0.0, 0.0, 3) == 1.0 and paired_p(0.1, 0.0, 3) == 0.0


def test_over_queries_alone_it_is_a_normal_difference() -> None:
    a = Measured(0.52, None, 1, 0.52 - 0.0196, 0.52 + 0.0196)  # standard errors of .01
    b = Measured(0.50, None, 1, 0.50 - 0.0196, 0.50 + 0.0196)
    expected = 2 * stats.norm.sf(0.02 / (0.01 * math.sqrt(2)))
    assert difference_p(a, b) == pytest.approx(expected, rel=1e-3)
    assert difference_p(a, Measured(0.5, None, 1, None, None)) is None


def test_intervals_that_touch_may_still_differ() -> None:
    """The case that overlapping intervals got wrong: 49.8 ± 0.6 against 46.1 ± 0.4."""
    a, b = Measured(0.498, 0.006, 3, 0.479, 0.517), Measured(0.461, 0.004, 3, 0.442, 0.480)
    assert a.low is not None and b.high is not None and a.low < b.high
    p = difference_p(a, b)
    assert p is not None and p < 0.02


def test_the_level_holds_when_seeds_and_queries_vary() -> None:
    """No difference: queries of both sides drawn apart, three trainings each."""
    rng, wrong, tries = np.random.default_rng(2), 0, 3000
    for _ in range(tries):
        sides = []
        for _ in range(2):
            seeds = rng.normal(0.5 + rng.normal(0, 0.01), 0.01, 3)
            mean = float(seeds.mean())
            sides.append(of(seeds, mean - 0.0196, mean + 0.0196))
        wrong += (difference_p(*sides) or 0.0) < 0.05
    assert wrong / tries < 0.065


@pytest.mark.parametrize("n", [2, 3, 5, 20])
def test_the_stated_difference_is_found_in_four_of_five_cases(n: int) -> None:
    rng, tries, sd = np.random.default_rng(n), 6000, 0.01
    true = detectable(sd * math.sqrt(2 / n), 2 * n - 2)
    a, b = rng.normal(true, sd, (tries, n)), rng.normal(0, sd, (tries, n))
    assert np.mean(stats.ttest_ind(a, b, axis=1)[1] < 0.05) == pytest.approx(0.8, abs=0.02)
    z = rng.normal(detectable(sd), sd, 20000) / sd
    assert np.mean(abs(z) > 1.96) == pytest.approx(0.8, abs=0.01)


def test_pooled() -> None:
    assert pooled([3.0, 4.0]) == pytest.approx(math.sqrt(12.5))
