"""What a board is made of: cells, rows, and the sentences that define them."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from crbench.records import Record
from crbench.words import DIRECTIONS, arrow


@dataclass(frozen=True)
class Cell:
    """A metric over the runs of a row, as fractions.

    ``mean`` and ``sd`` are over seeds (sd None for one run); ``low`` and ``high`` bound the 95 %
    interval over queries, averaged over the runs.
    """

    mean: float
    sd: float | None
    low: float | None
    high: float | None
    n: int


@dataclass(frozen=True)
class Row:
    """One method on one board. ``cells`` is keyed by (direction, metric); None: undefined."""

    name: str
    label: str
    kind: str  # "method", "external", "floor" or "chance"
    cells: dict[tuple[str, str], Cell | None]
    records: tuple[Record, ...]
    marks: tuple[str, ...]
    at_floor: frozenset[tuple[str, str]] = frozenset()

    @property
    def n(self) -> int:
        """Runs (seeds) behind the row; 0 for the analytic chance row."""
        return len(self.records)

    @property
    def sound(self) -> bool:
        """Whether every run finished, none collapsed and none was searched approximately; False for
        the analytic chance row."""
        exact = [record for record in self.records if record.approximate is None]
        good = [
            not record.collapsed and (record.training is None or record.training.finished)
            for record in exact
        ]
        return bool(good) and all(good)

    @property
    def seeds(self) -> list[int]:
        """Seeds of the trainings, as far as they are stated."""
        return [record.training.seed for record in self.records if record.training]


@dataclass(frozen=True)
class Board:
    """Rows that may be compared with one another, and the sentences that define them."""

    key: tuple[str, str, str, str]  # dataset, scale, cache digest, protocol
    title: str
    sensors: dict[str, str]
    metrics: tuple[str, ...]  # shown; the records hold more
    rows: tuple[Row, ...]
    best: frozenset[tuple[str, str, str]]  # (row label, direction, metric)
    not_worse: frozenset[tuple[str, str, str]]  # the same, see significance.py
    notes: tuple[str, ...]

    def arrows(self) -> list[str]:
        """The four directions with sensor names."""
        return [arrow(direction, self.sensors) for direction in DIRECTIONS]


def average(row: Row, metric: str) -> float | None:
    """Mean of a metric over the four directions; None where one is undefined."""
    cells = [row.cells.get((direction, metric)) for direction in DIRECTIONS]
    known = [cell.mean for cell in cells if cell is not None]
    return statistics.fmean(known) if len(known) == len(DIRECTIONS) else None
