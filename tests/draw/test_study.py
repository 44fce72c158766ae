"""The picture of a study: every dot, interval and published value inside its panel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from crbench.cards import load_dataset
from crbench.draw.study import study_figure
from crbench.scoring.intervals import Effect
from crbench.study.cards import load_study
from crbench.study.shelf import Shelf
from crbench.study.table import COLUMNS, StudyTable, study_table

RESULTS = Path(__file__).resolve().parents[2] / "results"


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    card = load_dataset("ben-14k-twin")
    folders = [RESULTS / "ablations" / card.name / "records", RESULTS / "records"]
    return Shelf(card).fill(folders)


def planted(table: StudyTable, *, curve: bool) -> StudyTable:
    """The largest effect, of ours and of the published ones, in the last row and last panel."""
    rows = []
    for number, row in enumerate(table.rows):
        x = float(number) if curve else None
        effect, printed = {}, {}
        for place, column in enumerate(COLUMNS):
            key = (column, table.metrics[0])
            value = 0.5**number * 0.001 if place < 4 else 0.2 * (number + 1)
            effect[key] = Effect(value, 0.01, value - 0.05, value + 0.05, 3)
            printed[key] = 1.5 * value
        rows.append(replace(
            row, card=row.card.model_copy(update={"x": x}), effect=effect, measured=effect,
            printed=printed, printed_effect=printed,
        ))  # fmt: skip
    return replace(table, rows=rows)


@pytest.mark.parametrize(("name", "curve"), [("table-s5", False), ("table-s3", True)])
def test_every_point_lies_inside_its_panel(
    shelf: Shelf, all_inside: Callable[[Figure], None], tmp_path: Path, name: str, curve: bool
) -> None:
    table = study_table(load_study(name), shelf, scale="tiny", seeds=3, root=tmp_path)
    assert all(row.records for row in table.rows), "the committed records stand behind it"
    table = planted(table, curve=curve)
    figure = study_figure(table)
    assert len(figure.axes) == len(COLUMNS)
    all_inside(figure)
    drawn = {
        round(float(value), 6)
        for line in figure.axes[-1].lines
        for value in (line.get_ydata() if curve else line.get_xdata())
    }
    shown = [row for row in table.rows if curve or row.name != table.study.reference]
    for row in shown:
        key = (COLUMNS[-1], table.metrics[0])
        assert round(100 * row.effect[key].value, 6) in drawn
        assert round(100 * row.printed_effect[key], 6) in drawn
