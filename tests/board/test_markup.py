"""Text that breaks no table, in Markdown and in LaTeX."""

from __future__ import annotations

import re
from typing import Any

from crbench.board.markup import latex_label, markdown_table
from crbench.board.tables import (
    Column,
    Table,
    TableCell,
    TableRow,
    score_text,
)
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


def test_markdown_holds_a_value_its_spread_sign_and_interval() -> None:
    head, rule, line = markdown_table(table()).splitlines()
    assert head.startswith("| method | a&#124;b &amp; c$ &lt;i>") and head.endswith("| marks |")
    assert rule == "| --- | ---: | ---: | ---: |"
    assert "| **-12.5 ± 50.0**≈<br><sub>[-20.0, 3.0]</sub> | – |" in line


def latex(value: Table, caption: str = "c", label: str = "l", see: str = "") -> str:
    tables: Any = templates("tex").get_template("tables.tex").module
    return str(tables.float(value, caption, label, value.columns, see))


def test_latex_escapes_heads_cells_marks_and_captions() -> None:
    text = latex(table(label=EVIL), EVIL, latex_label(["A b", "", "F1@5"]))
    assert r"\label{tab:a-b-f1-5}" in text
    assert r"\textbf{-12.5} {\scriptsize$\pm$50.0}$^{\approx}$\\{\tiny [-20.0, 3.0]}" in text
    assert r"see \texttt{x\_1}" in text
    assert not re.findall(r"(?<!\\)_|(?<!\\)\|", text.replace(r"\linewidth", ""))
    assert latex(table(), see="tab:y").count(r"\item Notes as under Table~\ref{tab:y}.") == 1
    assert r"see \texttt" not in latex(table(), see="tab:y"), "they stand there alone"
