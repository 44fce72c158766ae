"""Text as Markdown and as LaTeX, all of it escaped; tables as Markdown."""

from __future__ import annotations

import re
from collections.abc import Sequence

from crbench.board.tables import Table, TableCell

_MARKDOWN = str.maketrans({"&": "&amp;", "<": "&lt;", "|": "&#124;", "\n": " "})
_LATEX = str.maketrans({
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "&": r"\&", "%": r"\%", "$": r"\$",
    "#": r"\#", "_": r"\_", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    "→": r"$\to$", "±": r"$\pm$", "−": r"$-$", "×": r"$\times$", "≈": r"$^{\approx}$",
    "°": r"$^{\circ}$", "–": "--", "…": r"\dots{}", "·": r"$\cdot$", "√": r"$\sqrt{\ }$",
    "“": "``", "”": "''", "\n": " ",
})  # fmt: skip


def markdown_text(text: str) -> str:
    """Text of a card as Markdown that shows it: no table is broken by it and no HTML begun."""
    return text.translate(_MARKDOWN)


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


def latex_text(text: str) -> str:
    """Plain text as LaTeX that prints it; letters beyond ASCII are left to the input encoding."""
    return text.translate(_LATEX)


def latex_note(text: str) -> str:
    """As ``latex_text``, with what stands between backticks in a typewriter face."""
    parts = re.split(r"`([^`]*)`", text)
    return "".join(
        rf"\texttt{{{latex_text(part)}}}" if odd % 2 else latex_text(part)
        for odd, part in enumerate(parts)
    )


def latex_label(parts: Sequence[str]) -> str:
    """A label of plain letters, e.g. ``tab:ben-14k-f1-5``; parts may be empty."""
    slug = re.sub(r"[^a-z0-9]+", "-", "-".join(filter(None, parts)).lower())
    return f"tab:{slug.strip('-')}"
