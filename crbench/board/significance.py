"""Which rows of a column are not significantly worse than its best, from records alone.

The test: the differences of the two rows' scores, paired by seed, and Student's t. A row passes as
not significantly worse where the 95 % interval of the mean difference reaches zero. Intervals over
queries that overlap are no test and are not used as one. No correction is made for many rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from crbench.board.tables import Row
from crbench.scoring.intervals import over_seeds


def not_worse(
    rows: Sequence[Row], best: Iterable[tuple[str, str, str]]
) -> frozenset[tuple[str, str, str]]:
    """``(row label, direction, metric)`` of the sound rows that the test cannot tell from the best.

    ``best`` names the best row of each column likewise. A column whose best row, or whose other
    row, has fewer than two seeds in common with it is not tested.
    """
    sound = {row.label: row for row in rows if row.sound}
    best = set(best)
    passed = set()
    for label, direction, metric in best:
        top = sound[label].by_seed(direction, metric)
        for row in sound.values():
            if (row.label, direction, metric) in best:
                continue
            mine = row.by_seed(direction, metric)
            common = sorted(top.keys() & mine.keys())
            difference = over_seeds([mine[seed] - top[seed] for seed in common])
            if difference is None or difference.high is None:
                continue
            if difference.high >= 0:
                passed.add((row.label, direction, metric))
    return frozenset(passed)
