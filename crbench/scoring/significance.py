"""Tests from what records hold, means with their spreads; Holm's correction; power.

Values of single queries are not in records. There the two spreads that are, over seeds and over
queries, are added up as variances of a difference, as if the queries of both sides were drawn
apart. Scores on the same queries rise and fall together, so this is wider than the paired bootstrap
of ``crbench evaluate A --compare B`` and errs towards "not shown".
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

ALPHA, POWER = 0.05, 0.8  # two-sided; share of true differences that are to be found
_HALF = 1.959963984540054  # half-width of a 95 % interval in standard errors of a normal mean
_K = TypeVar("_K")


@dataclass(frozen=True)
class Measured:
    """A mean over ``n`` trainings with its sd over them (None of one), and the ends of its 95 %
    interval over queries (None without); fractions."""

    mean: float
    sd: float | None
    n: int
    low: float | None
    high: float | None

    @property
    def variances(self) -> tuple[tuple[float, float], ...]:
        """Variances of the mean with their degrees of freedom: over seeds, over queries."""
        parts: list[tuple[float, float]] = []
        if self.sd is not None and self.n > 1:
            parts.append((self.sd**2 / self.n, self.n - 1.0))
        if self.low is not None and self.high is not None:
            parts.append((((self.high - self.low) / (2 * _HALF)) ** 2, math.inf))
        return tuple(parts)


def difference_p(a: Measured, b: Measured) -> float | None:
    """Two-sided p of no difference by Welch's t (Satterthwaite 1946): the variances of both sides
    over seeds and over queries, added up. None where no spread is known on one side."""
    if not a.variances or not b.variances:
        return None
    parts = [*a.variances, *b.variances]
    variance = sum(v for v, _ in parts)
    loss = sum(v**2 / df for v, df in parts)
    return _p_of(a.mean - b.mean, math.sqrt(variance), variance**2 / loss if loss else math.inf)


def paired_p(mean: float, sd: float, n: int) -> float:
    """Two-sided p of no difference by Student's t over ``n`` ≥ 2 paired differences."""
    return _p_of(mean, sd / math.sqrt(n), n - 1.0)


def _p_of(difference: float, error: float, df: float) -> float:
    if error == 0:
        return 1.0 if difference == 0 else 0.0
    from scipy.stats import t

    return float(2 * t.sf(abs(difference) / error, df))  # the normal distribution at df = ∞


def holm(p_values: Mapping[_K, float]) -> dict[_K, float]:
    """p of each of several tests, adjusted for their number (Holm 1979), at most 1.

    The i-th smallest of m is multiplied by m − i + 1, and none is below one before it.
    """
    adjusted: dict[_K, float] = {}
    least, m = 0.0, len(p_values)
    for position, key in enumerate(sorted(p_values, key=lambda k: p_values[k])):
        least = max(least, min(1.0, (m - position) * p_values[key]))
        adjusted[key] = least
    return {key: adjusted[key] for key in p_values}


def pooled(deviations: Sequence[float]) -> float:
    """Root of the mean square of ``deviations``, at least one, of equal numbers of values."""
    return math.sqrt(sum(d * d for d in deviations) / len(deviations))


def detectable(error: float, df: float = math.inf) -> float:
    """Smallest true difference that a two-sided t-test at α = .05 finds in 80 % of the cases.

    ``error`` is the standard error of the difference, estimated with ``df`` degrees of freedom: the
    noncentrality at which the test has that power on the right side, times the error.
    """
    from scipy.special import nctdtrinc
    from scipy.stats import norm, t

    if math.isinf(df):
        return float((norm.ppf(1 - ALPHA / 2) + norm.ppf(POWER)) * error)
    return float(nctdtrinc(df, 1 - POWER, t.ppf(1 - ALPHA / 2, df)) * error)
