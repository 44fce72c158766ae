"""Spread over queries, by the bootstrap, and over seeds, by Student's t; paired comparisons.

Every resample draws the queries with replacement; all metrics and directions share the draws. Sums
are exact (values rounded to a grid of at least 2⁻³⁰, counts whole), so that intervals do not depend
on how a matrix product adds up.

Queries that are neighbours on the ground are not independent. Where they have blocks (scenes), a
resample draws blocks, with all of their queries. Of few blocks that spread is too narrow: by the
factor √((G − 1) / G) of any variance of G draws, and because it takes Student's distribution with
G − 1 degrees of freedom for a normal one. Resamples are stretched about the mean by both.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from crbench.errors import UserError
from crbench.scoring.metrics import PerQuery, add_derived, mean_arrays
from crbench.scoring.tiles import one_blas_thread

MIN_RESAMPLES = 1000
LEAST_BLOCKS = 10  # with fewer there is no interval
LEVEL = (2.5, 97.5)  # percentiles of a 95 % interval
_DRAWS = 4_000_000  # draws held at a time


def check_resamples(resamples: int) -> None:
    """UserError unless ``resamples`` is 0 (no intervals) or at least 1,000."""
    if resamples != 0 and resamples < MIN_RESAMPLES:
        raise UserError(
            f"{resamples} resamples are too few for a 95 % interval",
            where="resamples",
            fix=f"give at least {MIN_RESAMPLES}, or 0 for none",
        )


def resampled_means(
    columns: np.ndarray, resamples: int, seed: int, blocks: np.ndarray | None = None
) -> np.ndarray:
    """Means ``(resamples, M)`` of ``columns`` (n, M) in [−1, 1] over queries drawn anew each time,
    or over all queries of the ``blocks`` (n,) that are drawn.

    NaN entries are left out; a resample with no other entry gives NaN.
    """
    n = most = len(columns)
    holes = np.isnan(columns)
    partial = np.flatnonzero(holes.any(axis=0))
    sizes = np.ones(n)
    if blocks is not None:
        names, members, many = np.unique(blocks, return_inverse=True, return_counts=True)
        n, most, sizes = len(names), len(names) * int(many.max()), many.astype(np.float64)
    grid = 2.0 ** (52 - max(most - 1, 1).bit_length())  # as many values of 1 sum without rounding
    whole = np.rint(np.where(holes, 0.0, columns) * grid)
    present = (~holes[:, partial]).astype(np.float64)
    if blocks is not None:
        whole, present = (_summed(table, members, n) for table in (whole, present))
    out = np.empty((resamples, columns.shape[1]))
    rng = np.random.default_rng(seed)
    step = max(1, _DRAWS // n)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        draws = rng.integers(0, n, size=(rows, n))
        draws += np.arange(rows)[:, None] * n
        counts = np.bincount(draws.reshape(-1), minlength=rows * n).reshape(rows, n).astype(float)
        with np.errstate(invalid="ignore"), one_blas_thread():
            size = np.repeat((counts @ sizes)[:, None], columns.shape[1], axis=1)
            size[:, partial] = counts @ present
            out[start : start + rows] = counts @ whole / grid / size
    return out


def _summed(table: np.ndarray, members: np.ndarray, count: int) -> np.ndarray:
    """Sums (count, M) of the rows of ``table`` (n, M) by the block that they are ``members`` of."""
    sums = np.zeros((count, table.shape[1]))
    np.add.at(sums, members, table)
    return sums


def resampled_metrics(
    measured: Mapping[str, PerQuery], ks: Sequence[int], resamples: int, seed: int
) -> dict[str, dict[str, np.ndarray]]:
    """``(resamples,)`` values of each metric in each direction, under the same draws."""
    keys = [(d, m) for d, part in measured.items() for m in part.values]
    result: dict[str, dict[str, np.ndarray]] = {d: {} for d in measured}
    if keys:
        blocks = measured[keys[0][0]].blocks
        table = np.stack([measured[d].values[m] for d, m in keys], axis=1)
        means = resampled_means(table, resamples, seed, blocks)
        for (d, m), column in zip(keys, means.T, strict=True):
            result[d][m] = column
    derived = {d: add_derived(part, ks) for d, part in result.items()}
    return {d: _stretched(part, measured[d], ks) for d, part in derived.items()}


def _stretched(
    samples: dict[str, np.ndarray], of: PerQuery, ks: Sequence[int]
) -> dict[str, np.ndarray]:
    """Resampled means (B,) of blocks as wide as those of Student's t would be; NaN of too few."""
    if of.blocks is None:
        return samples
    count = len(np.unique(of.blocks))
    if count < LEAST_BLOCKS:
        return {name: np.full_like(column, np.nan) for name, column in samples.items()}
    from scipy.stats import norm, t

    factor = float(t.ppf(0.975, count - 1) / norm.ppf(0.975)) * (count / (count - 1)) ** 0.5
    point = mean_arrays(of.values, ks)
    return {name: point[name] + factor * (column - point[name]) for name, column in samples.items()}


def interval(samples: np.ndarray) -> tuple[float | None, float | None]:
    """95 % percentile interval of ``samples`` (B,), NaN left out; (None, None) of nothing."""
    kept = samples[~np.isnan(samples)]
    if not len(kept):
        return None, None
    low, high = np.percentile(kept, LEVEL)
    return float(low), float(high)


def compare(
    a: Sequence[Mapping[str, PerQuery]],
    b: Sequence[Mapping[str, PerQuery]],
    *,
    ks: Sequence[int],
    resamples: int = 1000,
    seed: int = 0,
) -> dict[str, dict[str, dict[str, float | int | None]]]:
    """Paired comparison of two methods, one entry per training seed each (one entry: of two runs).

    All runs must cover the same queries. Each resample draws queries, the same for all runs, and
    then training seeds: pairs of runs where both sides have as many (give them in the order of the
    seeds), else each side on its own. Returns direction → metric → difference of the means
    (a − b), its 95 % interval, two-sided p and the numbers of queries and seeds.
    """
    check_resamples(resamples)
    if not a or not b:
        raise UserError("nothing to compare", where="compare", fix="give a run on each side")
    runs = _common([*a, *b])
    a, b = runs[: len(a)], runs[len(a) :]
    rng = np.random.default_rng([seed, 1])
    drawn = rng.integers(0, len(a), (resamples, len(a)))
    side_a = _side(a, drawn, ks, seed)
    if len(a) != len(b):
        drawn = rng.integers(0, len(b), (resamples, len(b)))
    side_b = _side(b, drawn, ks, seed)
    result: dict[str, dict[str, dict[str, float | int | None]]] = {}
    for d in runs[0]:
        result[d] = {}
        for metric in sorted(set(side_a[d]) & set(side_b[d])):
            (mean_a, means_a), (mean_b, means_b) = side_a[d][metric], side_b[d][metric]
            value, (low, high) = mean_a - mean_b, interval(means_a - means_b)
            result[d][metric] = {
                "difference": None if np.isnan(value) else float(value),
                "low": low,
                "high": high,
                "p": _two_sided(means_a - means_b),
                "n_query": len(a[0][d].ids),
                "n_seeds_a": len(a),
                "n_seeds_b": len(b),
            }
    return result


def _common(runs: Sequence[Mapping[str, PerQuery]]) -> list[dict[str, PerQuery]]:
    """The runs' values in the directions that all have, of equal queries."""
    directions = [d for d in runs[0] if all(d in run for run in runs)]
    for d in directions:
        for run in runs:
            ids, other = runs[0][d].ids, run[d].ids
            if not np.array_equal(ids, other):
                odd = sorted(set(ids.tolist()) ^ set(other.tolist()))[:5]
                raise UserError(
                    f"the runs were scored on different queries, e.g. {', '.join(odd)}",
                    where=f"direction {d}",
                    fix="evaluate both under the same protocol",
                )
    return [{d: run[d] for d in directions} for run in runs]


def _side(
    runs: Sequence[Mapping[str, PerQuery]], drawn: np.ndarray, ks: Sequence[int], seed: int
) -> dict[str, dict[str, tuple[np.floating, np.ndarray]]]:
    """Per direction and metric: the mean over ``runs``, and in each resample (B,) over those that
    are ``drawn`` (B, S)."""
    spread = [resampled_metrics(run, ks, len(drawn), seed) for run in runs]
    point = [{d: mean_arrays(part.values, ks) for d, part in run.items()} for run in runs]
    rows = np.arange(len(drawn))[:, None]
    return {
        d: {
            m: (
                np.mean([part[d][m] for part in point]),
                np.stack([part[d][m] for part in spread], axis=1)[rows, drawn].mean(axis=1),
            )
            for m in metrics
        }
        for d, metrics in point[0].items()
    }


def _two_sided(differences: np.ndarray) -> float | None:
    """Two-sided bootstrap p of no difference: at least 1 / (B + 1), at most 1."""
    kept = differences[~np.isnan(differences)]
    if not len(kept):
        return None
    tail = min(np.count_nonzero(kept <= 0), np.count_nonzero(kept >= 0))
    return float(min(1.0, 2 * (tail + 1) / (len(kept) + 1)))


@dataclass(frozen=True)
class Effect:
    """A mean over seeds with its sd and its 95 % interval (Student's t); None for one seed."""

    value: float
    sd: float | None
    low: float | None
    high: float | None
    n: int


def over_seeds(values: Sequence[float]) -> Effect | None:
    """Mean, sd and the 95 % interval of the mean by Student's t over ``values``."""
    if not values:
        return None
    mean = statistics.fmean(values)
    if len(values) == 1:
        return Effect(mean, None, None, None, 1)
    from scipy.stats import t

    sd = statistics.stdev(values)
    half = float(t.ppf(0.975, len(values) - 1)) * sd / math.sqrt(len(values))
    return Effect(mean, sd, mean - half, mean + half, len(values))
