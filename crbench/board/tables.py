"""A table as data: built once, and only then written as Markdown, LaTeX, HTML or on a terminal.

Texts are as they are shown, with the digits that every writer shares, and not yet escaped.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crbench.words import DIRECTIONS, arrow

DASH = "–"


@dataclass(frozen=True)
class Column:
    """A column: ``brief`` ones are shown where room is scarce too, on the terminal.

    ``sort`` ("number" or "text"), ``css`` (the class of its cells), ``direction`` and ``hint`` are
    for pages.
    """

    head: str
    right: bool = True
    brief: bool = True
    sort: str = "number"
    css: str = ""
    direction: str = ""
    hint: str = ""


@dataclass(frozen=True)
class TableCell:
    """A value with its sd over seeds, the ends of its interval, signs behind it, lines below it.

    ``sort`` is the number that a page sorts by, ``marks`` what a reader must not miss.
    """

    text: str = DASH
    spread: str = ""
    interval: tuple[str, str] | None = None
    signs: str = ""
    best: bool = False
    below: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    sort: str = ""
    hint: str = ""

    @property
    def value(self) -> str:
        """The value with its spread, ``77.9 ± 0.2``."""
        return f"{self.text} ± {self.spread}" if self.spread else self.text

    @property
    def lines(self) -> list[str]:
        """What stands under the value: the interval, then other lines."""
        ends = [f"[{self.interval[0]}, {self.interval[1]}]"] if self.interval else []
        return [*ends, *self.below]


@dataclass(frozen=True)
class TableRow:
    """A row: its label, and a cell for each column after the first; rows of a kind are a group.
    ``tag`` stands beside the label on pages."""

    label: str
    cells: tuple[TableCell, ...]
    kind: str = "method"
    marks: tuple[str, ...] = ()
    tag: str = ""

    @property
    def name(self) -> str:
        """The label, floors marked."""
        return f"{self.label} (floor)" if self.kind == "floor" else self.label


@dataclass(frozen=True)
class Table:
    """``columns[0]`` is that of the labels. ``marked``: the marks of rows are a last column where
    a row has no room for them, in Markdown and LaTeX."""

    title: str
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]
    notes: tuple[str, ...] = ()
    marked: bool = False


def text_table(
    title: str, heads: Sequence[str], lines: Iterable[Sequence[str]], *, left: Sequence[str] = ()
) -> Table:
    """A table of plain texts; the first column and those named by ``left`` are set left."""
    columns = tuple(
        Column(head, right=position > 0 and head not in left) for position, head in enumerate(heads)
    )
    rows = tuple(TableRow(first, tuple(map(TableCell, rest))) for first, *rest in lines)
    return Table(title, columns, rows)


def direction_columns(sensors: Mapping[str, str], css: str = "") -> list[Column]:
    """A column for each of the four directions, with sensor names."""
    return [Column(arrow(d, sensors), css=css, direction=d) for d in DIRECTIONS]


def percent(value: float | None) -> str:
    """A fraction as percent with one decimal; a dash where there is none."""
    return DASH if value is None else f"{100 * value:.1f}"


def printed_percent(value: float | None) -> str:
    """A printed fraction as percent with the two decimals that papers print."""
    return DASH if value is None else f"{100 * value:.2f}"


def points(value: float) -> str:
    """A difference of fractions in percentage points, with its sign."""
    return f"{100 * value:+.1f}".replace("-", "−")


def millions(value: float) -> str:
    """A number of parameters in millions."""
    return f"{value / 1e6:.2f}"


def score_text(value: float, sd: float | None, **more: Any) -> TableCell:
    """The cell of a score and its sd, both fractions; ``more`` are its other fields."""
    return TableCell(percent(value), "" if sd is None else percent(sd), **more)


def csv_of(columns: Sequence[str], lines: Iterable[Mapping[str, Any]]) -> str:
    """Lines as CSV: floats with six decimals; None, and what a line lacks, stay empty."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for line in lines:
        writer.writerow({k: f"{v:.6f}" if isinstance(v, float) else v for k, v in line.items()})
    return out.getvalue()
