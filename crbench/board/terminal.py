"""Tables and boards in the terminal, within 80 columns where names allow it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable
from rich.text import Text

from crbench import words as names
from crbench.board.board import Board
from crbench.board.board_tables import measured_table, published_table
from crbench.board.probes import probe_table
from crbench.board.published import PublishedTable
from crbench.board.tables import Table, TableCell

_FAINT = ("external", "floor", "chance")  # kinds of rows whose names stand back


def print_boards(
    boards: Sequence[Board],
    published: Sequence[PublishedTable] = (),
    *,
    console: Console | None = None,
) -> None:
    """Print measured boards with their definitions, then published tables apart."""
    console = console or Console(highlight=False)
    if not boards:
        console.print("no records yet: `crbench demo` makes the first ones")
    for board in boards:
        console.print(Text(f"\n{board.title}", style="bold"), soft_wrap=True)
        for metric in board.metrics:
            console.print(_board_table(measured_table(board, metric), names.title(metric)))
        if (probes := probe_table(board)) is not None:
            printed = _board_table(probes, probes.columns[0].head)
            printed.title = probes.title
            console.print(printed)
            print_notes(console, probes.notes)
        print_notes(console, board.notes)
    for table in published:
        shown = published_table(table)
        console.print(_board_table(shown, f"{table.dataset}, {shown.title}"))


def print_notes(console: Console, notes: Iterable[str]) -> None:
    """Definitions and remarks under a table."""
    for note in notes:
        console.print(Text(f"- {note}", style="dim"))


def _board_table(table: Table, corner: str) -> RichTable:
    """Narrow: numbers never wrap, and what the table shows stands over the names."""
    printed = terminal_table(table, lined=False)
    printed.columns[0].header = corner
    for position, column in enumerate(printed.columns):
        column.no_wrap, column.max_width = position > 0, 24
    return printed


def terminal_table(table: Table, *, lined: bool = True) -> RichTable:
    """A table for the terminal, with a line between kinds of rows.

    ``lined``: in a frame and under its title; its rows have their marks in cells, if at all.
    """
    if lined:
        look = RichTable(title=escape(table.title), title_justify="left")
    else:
        look = RichTable(
            box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title_justify="left"
        )
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
        for mark in () if lined else row.marks:
            label.append(f"\n{mark}", style="bold red")
        look.add_row(label, *(_terminal_cell(row.cells[position - 1]) for position in brief[1:]))
    return look


def _terminal_cell(cell: TableCell) -> Text:
    text = Text(cell.value, style="bold" if cell.best else "")
    text.append(cell.signs)
    interval = ["–".join(cell.interval)] if cell.interval else []
    for style, lines in (("dim", (*interval, *cell.below)), ("red", cell.marks)):
        for line in lines:
            text.append(("\n" if text else "") + line, style=style)
    return text
