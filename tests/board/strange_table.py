"""A table of strange texts, and a writer of it that two files of tests share."""

from __future__ import annotations

from typing import Any

from crbench.board.tables import Column, Table, TableCell, TableRow, score_text
from crbench.board.writers import templates

EVIL = "a|b & c$ <i> {x}_1 [red]no[/red]"
LONG = "a very long name of a method " * 8


def table(rows: int = 1, label: str = "ours", title: str = "F1") -> Table:
    cells = (
        score_text(-0.125, 0.5, interval=("-20.0", "3.0"), signs="≈", best=True, sort="-0.125"),
        TableCell(),
    )
    made = tuple(
        TableRow(f"{label}{n}" if rows > 1 else label, cells, ("method", "floor")[n % 2], (EVIL,))
        for n in range(rows)
    )
    columns = (Column("method", right=False), Column(EVIL), Column("hidden", brief=False))
    return Table(title, columns, made, notes=("see `x_1`",), marked=True)


def latex(value: Table, caption: str = "c", label: str = "l", see: str = "") -> str:
    tables: Any = templates("tex").get_template("tables.tex").module
    return str(tables.float(value, caption, label, value.columns, see))
