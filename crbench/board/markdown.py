"""Tables as Markdown: the same records give the same bytes."""

from __future__ import annotations

from crbench.board.tables import Table, TableCell

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
