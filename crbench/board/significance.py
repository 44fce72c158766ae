"""Which rows of a column are not significantly worse than its best, from records alone.

The test: the differences of the two rows' scores, paired by seed, and Student's t. A row passes as
not significantly worse where the 95 % interval of the mean difference reaches zero. Intervals over
queries that overlap are no test and are not used as one. No correction is made for many rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from crbench.board.board import Row
from crbench.scoring.intervals import over_seeds

NOT_WORSE = "≈"
RULE = (
    f"{NOT_WORSE}: not significantly worse than the bold value: the 95 % interval (Student's t) of "
    "the difference to it, paired by seed, reaches zero; uncorrected for the number of rows. "
    "Only rows that share two seeds or more with the bold row can be tested: a row of one run has "
    "no such mark, whatever its value."
)


def by_seed(row: Row, direction: str, metric: str) -> dict[int, float]:
    """The row's value (a fraction) of each seed in which it is defined."""
    found = {}
    for record in row.records:
        scores = {str(d): values for d, values in record.scores.items()}
        value = scores.get(direction, {}).get(metric)
        if record.training is not None and value is not None and value.value is not None:
            found[record.training.seed] = value.value
    return found


def not_worse(
    rows: Sequence[Row], best: Iterable[tuple[str, str, str]]
) -> frozenset[tuple[str, str, str]]:
    """``(row label, direction, metric)`` of the sound rows that the test cannot tell from the best.

    ``best`` names the best row of each column likewise. A column whose best row, or whose other
    row, has fewer than two seeds in common with it is not tested.
    """
    known = {row.label: row for row in rows if row.sound}
    best = set(best)
    found = set()
    for label, direction, metric in best:
        top = by_seed(known[label], direction, metric)
        for row in known.values():
            if (row.label, direction, metric) in best:
                continue
            mine = by_seed(row, direction, metric)
            common = sorted(top.keys() & mine.keys())
            difference = over_seeds([mine[seed] - top[seed] for seed in common])
            if difference is None or difference.high is None:
                continue
            if difference.high >= 0:
                found.add((row.label, direction, metric))
    return frozenset(found)
