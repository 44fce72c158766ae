"""The table object and its writers on strange data: what breaks no table, in any format."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console
from strange_table import EVIL, LONG, latex, table

from crbench.board.markup import markdown_table
from crbench.board.tables import (
    Column,
    Table,
    TableCell,
    TableRow,
    points,
    terminal_table,
    text_table,
)
from crbench.board.writers import templates


def shown(value: Table, width: int = 200) -> str:
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(terminal_table(value, value.title))
    return console.export_text()


def html(value: Table) -> str:
    tables: Any = templates().get_template("tables.html").module
    return str(tables.sorted(value, "data", "F1"))


@pytest.mark.parametrize("rows", [1, 40])
@pytest.mark.parametrize("label", ["ours", LONG, EVIL])
def test_every_writer_writes_every_row(rows: int, label: str) -> None:
    made = table(rows, label)
    lines = markdown_table(made).splitlines()
    assert len(lines) == rows + 2 and {line.count("|") for line in lines} == {5}
    tex = latex(made)
    body = tex.split(r"\midrule", 1)[1].split(r"\bottomrule")[0]
    assert body.count("\\\\\n") == rows
    assert body.count(r"\midrule") == rows - 1, "a line wherever the kind changes"
    assert html(made).count('<th scope="row">') == rows
    assert shown(made).count("-12.5") == rows


def test_html_escapes_and_gives_the_page_its_hooks() -> None:
    text = html(table(label=EVIL))
    assert "<i>" not in text and "&lt;i&gt;" in text
    assert 'data-v="-0.125" class="best"' in text and "<td>–</td>" in re.sub(r"\s", "", text)
    assert '<span class="mark">' in text


def test_the_terminal_shows_brief_columns_and_never_reads_a_name_as_markup() -> None:
    text = shown(table(label=EVIL, title=EVIL))
    assert "hidden" not in text and "[red]no[/red]" in text
    assert text.splitlines()[0].strip().startswith("a|b & c$"), "its title"
    assert EVIL in shown(table()).replace("\n", " "), "the marks under the label"
    assert "-20.0–3.0" in text


def test_floors_are_named_and_tags_are_for_pages() -> None:
    row = TableRow("CCA", (TableCell(),), "floor", tag="floor")
    value = Table("t", (Column("method"), Column("x")), (row,))
    assert "CCA (floor)" in markdown_table(value) and "CCA (floor)" not in html(value)
    assert '<span class="tag">floor</span>' in html(value)


def test_text_tables_set_left_what_is_named() -> None:
    value = text_table("t", ["row", "n", "note"], [["a", "1", "b"]], left=["note"])
    assert markdown_table(value).splitlines()[1] == "| --- | ---: | --- |"
    assert "| a | 1 | b |" in markdown_table(value)
    assert "row" in shown(text_table("t", ["row"], [])), "a table without rows has its head"


def test_points_have_a_sign() -> None:
    assert (points(0.0123), points(-0.5), points(0.0)) == ("+1.2", "−50.0", "+0.0")
