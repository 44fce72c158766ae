"""A study's page and CSV, and the command that stands in them."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest

from crbench.errors import UserError
from crbench.scoring.intervals import Effect
from crbench.study.cards import load_study
from crbench.study.pages import (
    check_place,
    metric_tables,
    page_table,
    study_command,
    study_csv,
    study_markdown,
    study_note,
    write_study,
)
from crbench.study.table import StudyTable


def test_the_page_says_what_it_is(table: StudyTable, tmp_path: Path) -> None:
    (tmp_path / "table-s2a.note.md").write_text("We agree, mostly.\n")
    paths = write_study(table, tmp_path)
    page = paths[0].read_text()
    assert page == study_markdown(table, "We agree, mostly.\n")
    title = page.splitlines()[0]
    assert "synthetic" in title and "tiny" in title and "Table S2(a)" in title
    assert "| pred + cross | 63.0 ± 2.6 | 63.0 ± 2.6 | 53.0 ± 2.6 | 63.0 ± 2.6 |" in page
    assert "73.48 → −10.5 [−17.1, −3.9]" in page
    assert "levels differ for that reason alone" in page
    assert "`loss.uni=0.0`, `loss.sig=0.0`" in page
    assert (
        study_csv(table).count("\n") == 1 + 2 * 5 + 5 * 5
    )  # measured and printed, or printed only


def test_the_command_of_a_page() -> None:
    study = load_study("table-s5")
    for scale in (None, "paper"):
        assert study_command(study, "x", scale, ()) == "crbench ablate table-s5 --dataset x"
    words = study_command(study, "x", "tiny", ["a=1", 'b="c d"'])
    assert words == "crbench ablate table-s5 --dataset x --scale tiny --set a=1 --set 'b=\"c d\"'"


def test_a_page_of_another_command_is_not_replaced(table: StudyTable, tmp_path: Path) -> None:
    page = write_study(table, tmp_path)[0]
    call = study_command(table.study, table.dataset, table.scale, table.overrides)
    check_place(page, call)
    check_place(tmp_path / "none.md", call)
    with pytest.raises(UserError, match="made with another scale"):
        check_place(page, f"{call} --set loss.uni=0.5")


def test_lines_of_the_csv_are_the_figures_of_the_table(table: StudyTable) -> None:
    rows = {row.name: row for row in table.rows}
    lines = list(csv.DictReader(io.StringIO(study_csv(table))))
    for line in lines:
        row, key = rows[line["row"]], (line["direction"], line["metric"])
        figures = {
            "printed": row.printed.get(key),
            "printed_minus_reference": row.printed_effect.get(key),
        }
        if effect := row.measured.get(key):
            assert line["n"] == str(effect.n)
            figures |= {"mean": effect.value, "sd": effect.sd, "low": effect.low}
        if effect := row.gap.get(key):
            figures["minus_printed"] = effect.value
        if effect := row.effect.get(key):
            figures |= {"minus_reference": effect.value, "minus_reference_high": effect.high}
        for name, value in figures.items():
            assert line[name] == ("" if value is None else f"{value:.6f}"), (line["row"], name)
    reference = [line for line in lines if line["row"] == table.study.reference]
    assert reference and not any(line["minus_reference"] for line in reference)
    assert {line["problem"] for line in lines if not line["mean"]} == {"seed 0, 1, 2 not run"}


def test_overrides_stand_in_the_changes_and_no_record_leaves_dashes(table: StudyTable) -> None:
    changed = replace(table, overrides=("train.epochs=3",), rows=table.rows[:2])
    page = study_markdown(changed)
    first, second = page[page.index("## Rows") :].splitlines()[4:6]
    assert "`loss.sig=0.0`, `train.epochs=3` | `" in first and first.endswith("seed 2 |")
    assert second.endswith("| `–` | – |")
    assert "What we make of it" not in page and page.endswith("|\n")
    bare = study_markdown(replace(changed, rows=table.rows[1:2]))
    assert "png" not in bare and "## Rows" in bare  # no record: no picture, no protocol


def test_one_row_has_no_differences_and_a_collapse_is_a_mark(table: StudyTable) -> None:
    titles = [shown.title for shown in metric_tables(table, "f1_item@5")]
    assert [title.partition(", ")[2][:8] for title in titles] == [
        "measured",
        "beside t",
        "differen",
    ]
    row = table.rows[0]
    record = row.records[0].model_copy(update={"collapsed": True})
    fallen = replace(row, records={**row.records, 0: record}, problem="seed 3 not run")
    alone = replace(table, rows=[fallen], published=[])
    shown = list(metric_tables(alone, "f1_item@5"))
    assert len(shown) == 2
    assert shown[0].rows[0].marks == ("collapsed (1 of 3)", "seed 3 not run")


def test_a_page_shows_the_published_value_under_the_measured_one(table: StudyTable) -> None:
    shown = page_table(table, "f1_item@5")
    (row,) = (row for row in shown.rows if row.label == "pred + cross")
    assert row.cells[0].value == "63.0 ± 2.6" and row.cells[0].below == ("paper 73.48",)
    assert [row.tag for row in shown.rows].count("reference") == 1


def test_a_note_is_read_from_beside_the_page(tmp_path: Path) -> None:
    assert study_note(tmp_path / "x.md") == ""
    (tmp_path / "x.note.md").write_text("Agrees.\n")
    assert study_note(tmp_path / "x.csv") == "Agrees.\n"


def test_differences_that_stand_after_holms_correction_are_marked(table: StudyTable) -> None:
    """Five tests in one row: p of 3·10⁻⁵ stands, p of .013 stood alone and does not among five."""
    metric = table.metrics[0]
    planted = {
        ("aa", metric): Effect(-0.1, 0.001, None, None, 3),  # t = 173
        ("bb", metric): Effect(-0.1, 0.02, None, None, 3),  # t = 8.66, Holm: at least 4 × .013
        ("ab", metric): Effect(0.001, 0.02, None, None, 3),
        ("ba", metric): Effect(0.001, 0.02, None, None, 3),
        ("mean", metric): Effect(0.001, 0.02, None, None, 3),
    }
    first = next(row for row in table.rows if row.name != table.study.reference)
    rows = [
        replace(row, effect=planted if row.name == first.name else {}, printed_effect={})
        for row in table.rows
    ]
    *_, effects = metric_tables(replace(table, rows=rows), metric)
    line = next(row for row in effects.rows if row.label == first.name)
    assert [cell.signs for cell in line.cells[:5]] == ["†", "", "", "", ""]
    (note,) = effects.notes
    # pooled sd 0.0179 over √3 is 0.01033; noncentral t with 2 df: 80 % power at 5.653 times that
    assert "Holm" in note and "is 5.8 points" in note and "(3 seeds)" in note
    nothing = [replace(row, effect={}) for row in rows]
    *_, none = metric_tables(replace(table, rows=nothing), metric)
    assert "nothing can be tested" in none.notes[0]
