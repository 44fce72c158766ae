"""Bootstrap intervals against a plain loop and theory; the paired comparison."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from crbench.errors import UserError
from crbench.scoring import PerQuery, compare
from crbench.scoring.intervals import interval, resampled_means, resampled_metrics


def part(columns: dict[str, np.ndarray], direction: str = "ab") -> PerQuery:
    n = len(next(iter(columns.values())))
    return PerQuery(direction, np.array([f"p{i:05d}" for i in range(n)]), columns, 0.0)


def test_equals_a_plain_loop_with_the_same_draws() -> None:
    rng = np.random.default_rng(0)
    n = 57
    p, r, ap = rng.random((3, n))
    ap[rng.random(n) < 0.3] = np.nan
    measured = part({"map": ap, "label_p@5": p, "label_r@5": r})
    found = resampled_metrics({"ab": measured}, (5,), 1000, seed=3)["ab"]
    draws = np.random.default_rng(3)
    for b in range(1000):
        rows = draws.integers(0, n, size=(1, n))[0]
        x, y = p[rows].mean(), r[rows].mean()
        assert found["label_p@5"][b] == pytest.approx(x, abs=1e-12)
        assert found["f1_dataset@5"][b] == pytest.approx(2 * x * y / (x + y), abs=1e-12)
        assert found["map"][b] == pytest.approx(np.nanmean(ap[rows]), abs=1e-12)


@pytest.mark.parametrize("n", [1, 2, 100, 5000])
def test_spread_is_the_standard_error(n: int) -> None:
    column = np.random.default_rng(n).random((n, 1))
    means = resampled_means(column, 2000, 0)
    assert means.mean() == pytest.approx(column.mean(), abs=1e-2)
    assert means.std() == pytest.approx(column.std() / np.sqrt(n), rel=0.1, abs=1e-12)


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(5)
    columns = rng.random((80, 300)) ** 2  # 300 experiments of 80 queries, true mean 1/3
    means = resampled_means(columns, 1000, 1)
    low, high = np.percentile(means, (2.5, 97.5), axis=0)
    covered = ((low < 1 / 3) & (high > 1 / 3)).mean()
    assert 0.90 < covered < 0.98
    assert interval(means[:, 0]) == (low[0], high[0])


def test_undefined_values_give_no_interval() -> None:
    means = resampled_means(np.full((9, 1), np.nan), 1000, 0)
    assert interval(means[:, 0]) == (None, None)


def test_many_draws_run_in_blocks_with_the_same_result(monkeypatch: pytest.MonkeyPatch) -> None:
    column = np.random.default_rng(0).random((333, 2))
    expected = resampled_means(column, 1000, 7)
    monkeypatch.setattr("crbench.scoring.intervals._DRAWS", 1000)
    assert np.array_equal(resampled_means(column, 1000, 7), expected)


def test_a_run_compared_with_itself() -> None:
    run = {"ab": part({"map": np.random.default_rng(0).random(50)})}
    cell = compare([run], [run], ks=(5,))["ab"]["map"]
    assert (cell["difference"], cell["low"], cell["high"], cell["p"]) == (0.0, 0.0, 0.0, 1.0)


def test_pairing_finds_a_difference_that_the_intervals_hide() -> None:
    rng = np.random.default_rng(0)
    b = rng.random(400) * 0.8
    a = b + 0.02 + rng.normal(0, 0.05, 400)  # far less than the spread over queries
    runs = {"ab": part({"map": a})}, {"ab": part({"map": b})}
    cell = compare([runs[0]], [runs[1]], ks=(5,))["ab"]["map"]
    assert cell["difference"] == pytest.approx(a.mean() - b.mean())
    assert 0 < cell["low"] < cell["difference"] < cell["high"]
    assert cell["p"] < 0.01
    back = compare([runs[1]], [runs[0]], ks=(5,))["ab"]["map"]
    assert (back["low"], back["high"]) == pytest.approx((-cell["high"], -cell["low"]))
    alone = [interval(resampled_means(x[:, None], 1000, 0)[:, 0]) for x in (a, b)]
    assert alone[0][0] < alone[1][1]


def test_no_difference_is_found_where_there_is_none() -> None:
    found = []
    for seed in range(60):
        a, b = np.random.default_rng(seed).random((2, 60))
        runs = {"ab": part({"map": a})}, {"ab": part({"map": b})}
        found.append(compare([runs[0]], [runs[1]], ks=(5,))["ab"]["map"]["p"])
    assert np.mean(np.array(found) < 0.05) < 0.17
    assert 0.3 < np.mean(found) < 0.7


def test_seeds_add_their_spread() -> None:
    rng = np.random.default_rng(1)
    base = rng.random(300)

    def runs(shifts: list[float]) -> list[dict[str, PerQuery]]:
        return [{"ab": part({"map": base * 0.5 + s, "p@5": base})} for s in shifts]

    steady = compare(runs([0.2, 0.2, 0.2]), runs([0.1, 0.1, 0.1]), ks=(5,))["ab"]["map"]
    shaky = compare(runs([0.5, 0.1, 0.0]), runs([0.1, 0.1, 0.1]), ks=(5,))["ab"]["map"]
    assert steady["difference"] == pytest.approx(shaky["difference"])
    assert steady["p"] < 0.01 < shaky["p"]
    assert shaky["high"] - shaky["low"] > 10 * (steady["high"] - steady["low"])
    assert (shaky["n_seeds_a"], shaky["n_query"]) == (3, 300)
    uneven = compare(runs([0.2, 0.2]), runs([0.1]), ks=(5,))["ab"]["map"]
    assert uneven["difference"] == pytest.approx(0.1)


def test_other_queries_are_refused() -> None:
    run = {"ab": part({"map": np.ones(5)})}
    with pytest.raises(UserError, match=r"different queries, e\.g\. p00005"):
        compare([run], [{"ab": part({"map": np.ones(6)})}], ks=(5,))
    with pytest.raises(UserError, match="nothing to compare"):
        compare([run], [], ks=(5,))


def in_blocks(columns: dict[str, np.ndarray], blocks: np.ndarray) -> PerQuery:
    return replace(part(columns), blocks=blocks.astype(str))


def test_blocks_are_drawn_whole() -> None:
    """Against a plain loop; a block's queries come with it, NaN ones are left out."""
    rng = np.random.default_rng(2)
    blocks = rng.integers(0, 12, 90)
    p, ap = rng.random((2, 90))
    ap[rng.random(90) < 0.3] = np.nan
    found = resampled_means(np.stack([p, ap], axis=1), 1000, 5, blocks)
    draws = np.random.default_rng(5)
    for b in range(1000):
        rows = np.concatenate(
            [np.flatnonzero(blocks == g) for g in draws.integers(0, 12, (1, 12))[0]]
        )
        assert found[b] == pytest.approx([p[rows].mean(), np.nanmean(ap[rows])], abs=1e-12)
    alone = resampled_means(p[:, None], 1000, 5, np.arange(90))
    assert np.array_equal(alone, resampled_means(p[:, None], 1000, 5))


def test_few_blocks_stretch_the_interval_and_too_few_give_none() -> None:
    rng = np.random.default_rng(0)
    p, blocks = rng.random(120), np.repeat(np.arange(12), 10)
    plain = resampled_means(p[:, None], 1000, 3, blocks.astype(str))[:, 0]
    wide = resampled_metrics({"ab": in_blocks({"map": p}, blocks)}, (5,), 1000, 3)["ab"]["map"]
    factor = 2.200985 / 1.959964 * np.sqrt(12 / 11)  # Student's t with 11 degrees of freedom
    np.testing.assert_allclose(wide - p.mean(), factor * (plain - p.mean()), rtol=1e-6)
    few = resampled_metrics({"ab": in_blocks({"map": p}, blocks % 9)}, (5,), 1000, 3)
    assert interval(few["ab"]["map"]) == (None, None)
    run = {"ab": in_blocks({"map": p}, blocks % 9)}
    cell = compare([run], [{"ab": in_blocks({"map": p / 2}, blocks % 9)}], ks=(5,))["ab"]["map"]
    assert (cell["low"], cell["high"], cell["p"]) == (None, None, None)
    assert cell["difference"] == pytest.approx(p.mean() / 2)


def covered(n_blocks: int, size: int, correlation: float, tries: int, *, by: str) -> float:
    """How often the interval holds the true mean 0 of values that are correlated in their block."""
    rng = np.random.default_rng([n_blocks, size])
    count = n_blocks * size
    shared = np.repeat(rng.standard_normal((n_blocks, tries)), size, axis=0)
    columns = np.sqrt(correlation) * shared
    columns += np.sqrt(1 - correlation) * rng.standard_normal((count, tries))
    columns = np.clip(columns / 8, -1, 1)
    measured = part({f"p@{k}": columns[:, k] for k in range(tries)})
    if by == "block":
        measured = replace(measured, blocks=np.repeat(np.arange(n_blocks), size).astype(str))
    samples = resampled_metrics({"ab": measured}, (), 1000, 1)["ab"]
    ends = [interval(column) for column in samples.values()]
    return float(np.mean([low < 0 < high for low, high in ends]))


@pytest.mark.parametrize("n_blocks", [12, 31, 39])
def test_blocks_cover_the_truth_where_queries_alone_do_not(n_blocks: int) -> None:
    """At the block counts of the real sets, tiles correlated by 0.3: 93 to 97 %; drawn one by one
    they cover far too rarely."""
    assert 0.93 <= covered(n_blocks, 36, 0.3, 1500, by="block") <= 0.97
    assert covered(n_blocks, 36, 0.3, 300, by="query") < 0.6
