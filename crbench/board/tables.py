"""Tables as data: built once, and only then written as Markdown, LaTeX, HTML or on a terminal.

A board is a table a metric. Texts are as they are shown, with the digits that every writer shares,
and not yet escaped.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable
from rich.text import Text

from crbench import words as names
from crbench.records import Record, Value
from crbench.words import DIRECTIONS, arrow

DASH = "–"
AT_FLOOR, NOT_WORSE = "°", "≈"  # signs behind a value; the notes of a board say what they mean
CEILING = "ceiling"  # name of the row that says what the generator of a synthetic set allows
_FAINT = ("external", "floor", "chance")  # kinds of rows whose names stand back on a terminal


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
        """Runs (seeds) behind the row; 0 for the computed rows, chance and ceiling."""
        return len(self.records)

    @property
    def sound(self) -> bool:
        """Whether every run finished, none collapsed and none was searched approximately; False for
        the computed rows."""
        return bool(self.records) and all(
            record.approximate is None
            and not record.collapsed
            and (record.training is None or record.training.finished)
            for record in self.records
        )

    @property
    def seeds(self) -> list[int]:
        """Seeds of the trainings, as far as they are stated."""
        return [record.training.seed for record in self.records if record.training]

    def by_seed(self, direction: str, metric: str) -> dict[int, float]:
        """The value (a fraction) of each seed in which it is defined."""
        return {
            record.training.seed: score.value
            for record in self.records
            if record.training is not None
            and (score := score_of(record, direction, metric)) is not None
            and score.value is not None
        }


class BoardKey(NamedTuple):
    """What runs must share to stand on one board."""

    dataset: str
    scale: str
    cache_digest: str
    protocol: str


@dataclass(frozen=True)
class Board:
    """Rows that may be compared with one another, and the sentences that define them."""

    key: BoardKey
    heading: str  # the dataset, and what kind of data it is
    setting: str  # what makes its rows comparable beside the dataset
    sensors: dict[str, str]
    metrics: tuple[str, ...]  # shown; the records hold more
    rows: tuple[Row, ...]
    best: frozenset[tuple[str, str, str]]  # (row label, direction, metric)
    not_worse: frozenset[tuple[str, str, str]]  # the same, see significance.py
    notes: tuple[str, ...]
    probes: Table | None = None  # the supervised reference of its rows, where one holds any

    @property
    def title(self) -> str:
        """Dataset, what kind of data it is, sensors, protocol and the cache's digest."""
        return f"{self.heading} · {self.setting}"

    def arrows(self) -> list[str]:
        """The four directions with sensor names."""
        return [arrow(direction, self.sensors) for direction in DIRECTIONS]


def average(row: Row, metric: str) -> float | None:
    """Mean of a metric over the four directions; None where one is undefined."""
    cells = [row.cells.get((direction, metric)) for direction in DIRECTIONS]
    known = [cell.mean for cell in cells if cell is not None]
    return statistics.fmean(known) if len(known) == len(DIRECTIONS) else None


def score_of(record: Record, direction: str, metric: str) -> Value | None:
    """A score of a record; None where it holds none."""
    return record.scores.get(direction, {}).get(metric)  # type: ignore[call-overload]


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

    ``sort`` is the number that a page sorts by.
    """

    text: str = DASH
    spread: str = ""
    interval: tuple[str, str] | None = None
    signs: str = ""
    best: bool = False
    below: tuple[str, ...] = ()
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


METHOD_COLUMN = Column("method", right=False, sort="text")
_MEASURED = (
    Column("mean", hint="mean of the four directions"),
    Column("n", hint="runs, one per seed"),
    Column("params (M)", brief=False, css="nowrap", hint="millions: trained / used at inference"),
    Column("date", brief=False, sort="text", css="nowrap"),
)
PARAMS = "Params: millions, trained / used at inference. Date: day of the newest run."


def measured_table(board: Board, metric: str) -> Table:
    """The rows of a board by direction, their mean, runs, parameters and dates."""
    columns = (METHOD_COLUMN, *direction_columns(board.sensors, "score"), *_MEASURED)
    rows = tuple(_measured_row(board, row, metric) for row in board.rows)
    title = f"{names.title(metric)}, measured"
    return Table(title, columns, rows, notes=(*board.notes, PARAMS), marked=True)


def _measured_row(board: Board, row: Row, metric: str) -> TableRow:
    mean = average(row, metric)
    cells = (
        *(score_cell(board, row, direction, metric) for direction in DIRECTIONS),
        TableCell(percent(mean), sort=_six(mean)),
        TableCell(str(row.n or DASH), sort=str(row.n)),
        TableCell(_params(row)),
        TableCell(max((record.created for record in row.records), default=DASH)[:10]),
    )
    return TableRow(row.label, cells, row.kind, row.marks, "floor" * (row.kind == "floor"))


def score_cell(board: Board, row: Row, direction: str, metric: str) -> TableCell:
    """A score with its spread over seeds, its interval over queries, and the signs behind it: not
    significantly worse than the best, not above the floor."""
    key = (row.label, direction, metric)
    signs = NOT_WORSE * (key in board.not_worse) + AT_FLOOR * (key[1:] in row.at_floor)
    cell = row.cells.get(key[1:])
    if cell is None:
        return TableCell(signs=signs, best=key in board.best)
    known = cell.low is not None and cell.high is not None
    interval = (percent(cell.low), percent(cell.high)) if known else None
    return score_text(
        cell.mean, cell.sd,
        interval=interval, signs=signs, best=key in board.best, sort=_six(cell.mean),
    )  # fmt: skip


def _six(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def _params(row: Row) -> str:
    training = row.records[0].training if row.n else None
    if training is None:
        return DASH
    return f"{millions(training.params_trainable)} / {millions(training.params_inference)}"


def print_boards(
    boards: Sequence[Board],
    published: Iterable[tuple[str, Table]] = (),
    *,
    console: Console | None = None,
) -> None:
    """Print measured boards with their definitions, then apart published tables by dataset."""
    console = console or Console(highlight=False)
    if not boards:
        console.print("no records yet: `crbench demo` makes the first ones")
    for board in boards:
        console.print(Text(f"\n{board.title}", style="bold"), soft_wrap=True)
        for metric in board.metrics:
            console.print(_board_table(measured_table(board, metric), names.title(metric)))
        if (probes := board.probes) is not None:
            console.print(_board_table(probes, probes.columns[0].head, probes.title))
            print_notes(console, probes.notes)
        print_notes(console, board.notes)
    for dataset, table in published:
        console.print(_board_table(table, f"{dataset}, {table.title}"))


def _board_table(table: Table, corner: str, title: str = "") -> RichTable:
    """Narrow: numbers never wrap, and what the table shows stands over the names."""
    printed = terminal_table(table, title)
    printed.columns[0].header = corner
    for position, column in enumerate(printed.columns):
        column.no_wrap, column.max_width = position > 0, 24
    return printed


def print_notes(console: Console, notes: Iterable[str]) -> None:
    """Definitions and remarks under a table."""
    for note in notes:
        console.print(Text(f"- {note}", style="dim"))


def terminal_table(table: Table, title: str = "") -> RichTable:
    """A table for the terminal, under ``title`` if it is to have one, with a line between kinds of
    rows and the marks of a row below its name."""
    look = RichTable(
        title=escape(title) or None, title_justify="left",
        box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0),
    )  # fmt: skip
    brief = [position for position, column in enumerate(table.columns) if column.brief]
    for position in brief:
        column = table.columns[position]
        look.add_column(column.head, justify="right" if column.right else "left")
    previous = table.rows[0].kind if table.rows else ""
    for row in table.rows:
        if row.kind != previous:
            look.add_section()
        previous = row.kind
        label = Text(row.name, style="dim" if row.kind in _FAINT else "")
        for mark in row.marks:
            label.append(f"\n{mark}", style="bold red")
        look.add_row(label, *(_terminal_cell(row.cells[position - 1]) for position in brief[1:]))
    return look


def _terminal_cell(cell: TableCell) -> Text:
    text = Text(cell.value, style="bold" if cell.best else "")
    text.append(cell.signs)
    for line in (*(["–".join(cell.interval)] if cell.interval else []), *cell.below):
        text.append(f"\n{line}" if text else line, style="dim")
    return text
