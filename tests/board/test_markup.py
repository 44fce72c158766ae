"""Text that breaks no table, in Markdown and in LaTeX."""

from __future__ import annotations

import re

from strange_table import EVIL, latex, table

from crbench.board.markup import latex_label, markdown_table


def test_markdown_holds_a_value_its_spread_sign_and_interval() -> None:
    head, rule, line = markdown_table(table()).splitlines()
    assert head.startswith("| method | a&#124;b &amp; c$ &lt;i>") and head.endswith("| marks |")
    assert rule == "| --- | ---: | ---: | ---: |"
    assert "| **-12.5 ± 50.0**≈<br><sub>[-20.0, 3.0]</sub> | – |" in line


def test_latex_escapes_heads_cells_marks_and_captions() -> None:
    text = latex(table(label=EVIL), EVIL, latex_label(["A b", "", "F1@5"]))
    assert r"\label{tab:a-b-f1-5}" in text
    assert r"\textbf{-12.5} {\scriptsize$\pm$50.0}$^{\approx}$\\{\tiny [-20.0, 3.0]}" in text
    assert r"see \texttt{x\_1}" in text
    assert not re.findall(r"(?<!\\)_|(?<!\\)\|", text.replace(r"\linewidth", ""))
    assert latex(table(), see="tab:y").count(r"\item Notes as under Table~\ref{tab:y}.") == 1
    assert r"see \texttt" not in latex(table(), see="tab:y"), "they stand there alone"
