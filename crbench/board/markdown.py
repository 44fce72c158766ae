"""Tables and whole boards as Markdown: the same records give the same bytes."""

from __future__ import annotations

from collections.abc import Sequence

from crbench.board.board import Board
from crbench.board.board_tables import PARAMS, measured_table, published_table
from crbench.board.probes import probe_table
from crbench.board.published import COMPARABLE, PublishedTable
from crbench.board.tables import Table, TableCell

_INTRO = """# Leaderboard

Made by `crbench leaderboard` from run records and published tables; do not edit it by hand. Rows of
one table share data, cache and protocol. Numbers from different tables do not compare. The notes
under a table name the record of each run; `crbench reproduce RECORD` prints the commands that make
it again, and with `--run` runs them and compares the scores.
"""
_PUBLISHED_INTRO = (
    """## Published numbers

Printed by others, not measured here, in percent as printed. *Comparable* says whether a row may be
held against a measured row on the same dataset: """
    + "; ".join(f"`{flag}` = {meaning}" for flag, meaning in COMPARABLE.items())
    + ".\n"
)
_LETTERS = str.maketrans({"&": "&amp;", "<": "&lt;", "|": "&#124;", "\n": " "})


def markdown_text(text: str) -> str:
    """Text of a card as Markdown that shows it: no table is broken by it and no HTML begun."""
    return text.translate(_LETTERS)


def markdown_table(table: Table) -> str:
    """A table of Markdown; what stands below a value is small and on a line of its own."""
    heads = [markdown_text(column.head) for column in table.columns] + ["marks"] * table.marked
    rule = ["---:" if column.right else "---" for column in table.columns]
    lines = [heads, rule + ["---:"] * table.marked]
    for row in table.rows:
        marks = [markdown_text("; ".join(row.marks))] * table.marked
        lines.append([markdown_text(row.name), *map(_markdown_cell, row.cells), *marks])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _markdown_cell(cell: TableCell) -> str:
    value = markdown_text(cell.value)
    shown = (f"**{value}**" if cell.best else value) + cell.signs
    return shown + "".join(f"<br><sub>{markdown_text(line)}</sub>" for line in cell.lines)


def board_markdown(boards: Sequence[Board], published: Sequence[PublishedTable] = ()) -> str:
    """The whole board as Markdown; every definition stands under its table."""
    parts = [_INTRO]
    if not boards:
        parts.append("No records yet: `crbench demo` makes the first ones.\n")
    for board in boards:
        parts.append(f"## {markdown_text(board.title)}\n")
        for metric in board.metrics:
            table = measured_table(board, metric)
            parts += [f"### {table.title}\n", markdown_table(table)]
        if (probes := probe_table(board)) is not None:
            parts += [f"### {probes.title}\n", markdown_table(probes)]
            parts += [f"{markdown_text(note)}\n" for note in probes.notes]
        notes = [*board.notes, PARAMS]
        parts.append("\n".join(f"- {markdown_text(note)}" for note in notes) + "\n")
    if published:
        parts.append(_PUBLISHED_INTRO)
    for printed in published:
        table = published_table(printed)
        parts += [f"### {printed.dataset}, {table.title}\n", markdown_table(table)]
    return "\n".join(parts)
