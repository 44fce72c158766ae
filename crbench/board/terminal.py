"""Boards in the terminal, within 80 columns where names allow it."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from crbench import words as names
from crbench.board.board import Board, Row, average
from crbench.board.probes import TITLE, probe_table
from crbench.board.published import PublishedTable
from crbench.board.text import cell_lines, name, percent, signs
from crbench.words import DIRECTIONS, arrow


def print_boards(
    boards: Sequence[Board],
    published: Sequence[PublishedTable] = (),
    *,
    notes: bool = True,
    console: Console | None = None,
) -> None:
    """Print measured boards with their definitions, then published tables apart."""
    console = console or Console(highlight=False)
    if not boards:
        console.print("no records yet: `crbench demo` makes the first ones")
    for board in boards:
        console.print(Text(f"\n{board.title}", style="bold"), soft_wrap=True)
        for metric in board.metrics:
            console.print(_measured(board, metric))
        if (probes := probe_table(board)) is not None:
            head, lines, said = probes
            reference = _empty(*head)
            reference.title = TITLE
            for line in lines:
                reference.add_row(*line)
            console.print(reference)
            console.print(Text(f"- {said}", style="dim"))
        if notes:
            for note in board.notes:
                console.print(Text(f"- {note}", style="dim"))
    for table in published:
        console.print(_published(table))


def _empty(*columns: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title_justify="left")
    for position, column in enumerate(columns):
        table.add_column(
            column, justify="right" if position else "left", no_wrap=position > 0, max_width=24
        )
    return table


def _measured(board: Board, metric: str) -> Table:
    table = _empty(names.title(metric), *board.arrows(), "mean", "n")
    previous = board.rows[0].kind
    for row in board.rows:
        if row.kind != previous:
            table.add_section()
        previous = row.kind
        cells = [_cell(board, row, direction, metric) for direction in DIRECTIONS]
        label = Text(name(row), style="" if row.kind == "method" else "dim")
        for mark in row.marks:
            label.append(f"\n{mark}", style="bold red")
        table.add_row(label, *cells, percent(average(row, metric)), str(row.n) if row.n else "–")
    return table


def _cell(board: Board, row: Row, direction: str, metric: str) -> Text:
    top, below = cell_lines(row.cells.get((direction, metric)))
    best = (row.label, direction, metric) in board.best
    text = Text(top, style="bold" if best else "")
    text.append(signs(board, row, direction, metric))
    if below:
        text.append("\n" + below.strip("[]").replace(", ", "–"), style="dim")
    return text


def _published(table: PublishedTable) -> Table:
    heading = f"{table.dataset}, {table.heading}, published"
    printed = _empty(heading, *(arrow(d, table.sensors) for d in DIRECTIONS), "comparable")
    for row in table.rows:
        values = ["–" if (v := row.values[d]) is None else f"{100 * v:.2f}" for d in DIRECTIONS]
        printed.add_row(row.method, *values, row.comparable)
    return printed
