"""The arithmetic of study tables, on records made to measure."""

from __future__ import annotations

from pathlib import Path

import pytest
from scipy.stats import ttest_1samp

from crbench.errors import UserError
from crbench.files import write_json
from crbench.scoring.intervals import over_seeds
from crbench.study.cards import Job, load_study, row_jobs
from crbench.study.pages import study_markdown
from crbench.study.shelf import Shelf
from crbench.study.table import StudyTable, served_by, study_json, study_table


def test_intervals_are_students() -> None:
    values = [0.61, 0.64, 0.7, 0.66]
    effect = over_seeds(values)
    assert effect is not None
    expected = ttest_1samp(values, 0.0).confidence_interval(0.95)
    assert (effect.low, effect.high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert effect.sd == pytest.approx(0.03774917)
    alone = over_seeds([0.5])
    assert alone is not None and (alone.value, alone.sd, alone.low) == (0.5, None, None)
    assert over_seeds([]) is None


def test_differences_are_paired_by_seed_beside_the_published_ones(
    table: StudyTable,
) -> None:
    rows = {row.name: row for row in table.rows}
    row, key = rows["pred + cross"], ("aa", "f1_item@5")
    assert row.measured[key].value == pytest.approx(0.63)
    assert row.printed[key] == pytest.approx(0.7348)
    assert row.gap[key].value == pytest.approx(0.63 - 0.7348)
    paired = ttest_1samp([-0.10, -0.07, -0.10], 0.0).confidence_interval(0.95)
    effect = row.effect[key]
    assert effect.value == pytest.approx(-0.09)
    assert effect.low == pytest.approx(paired.low) and effect.high == pytest.approx(paired.high)
    assert row.printed_effect[key] == pytest.approx(0.7348 - 0.7511)
    assert not rows["pred + cross + uni + sig"].effect, "the reference is not held against itself"


def test_the_mean_column_is_that_of_the_four_directions(table: StudyTable) -> None:
    row = table.rows[0]
    assert row.measured["mean", "f1_item@5"].value == pytest.approx(0.63 - 0.1 / 4)
    assert row.printed["mean", "f1_item@5"] == pytest.approx(0.6129)  # as printed


def test_rows_without_records_say_so_and_hold_no_numbers(shelf: Shelf) -> None:
    table = study_table(load_study("table-s2a"), shelf, scale="tiny", seeds=4)
    rows = {row.name: row for row in table.rows}
    assert rows["pred + cross"].problem == "seed 3 not run"
    assert rows["pred + uni"].problem == "seed 0, 1, 2, 3 not run"
    assert not rows["pred + uni"].measured and not rows["pred + uni"].effect
    assert not study_json(table)["complete"]
    assert "seed 3 not run" in study_markdown(table)


def test_a_failed_run_is_named(shelf: Shelf, tmp_path: Path) -> None:
    study = load_study("table-s2a")
    job: Job = row_jobs(study.rows[1], "ben-14k-twin", "tiny", 1)[0]
    write_json(job.aside("failures", tmp_path), {"what": "the loss is not finite", "where": ""})
    rows = study_table(study, shelf, scale="tiny", seeds=1, root=tmp_path).rows
    assert rows[1].problem == "seed 0 failed: the loss is not finite"


def test_a_row_that_finds_no_published_line_is_an_error(shelf: Shelf) -> None:
    study = load_study("table-s2a")
    row = study.rows[0].model_copy(update={"printed": {"pred": "7"}})
    wrong = study.model_copy(update={"rows": [row, *study.rows[1:]]})
    with pytest.raises(UserError, match="'pred \\+ cross' finds no line"):
        study_table(wrong, shelf, scale="tiny", seeds=3)


def test_plain_data_hold_every_figure_by_metric_and_direction(table: StudyTable) -> None:
    data = study_json(table)
    assert data["complete"] is False and data["synthetic"] is True
    row = next(row for row in data["rows"] if row["name"] == "pred + cross")
    of = table.rows[[r.name for r in table.rows].index("pred + cross")]
    for name, values in (("measured", of.measured), ("minus_printed", of.gap),
                         ("minus_reference", of.effect)):  # fmt: skip
        for (column, metric), effect in values.items():
            assert row[name][metric][column] == vars(effect)
    assert row["printed"]["f1_item@5"]["aa"] == 0.7348 and len(row["runs"]) == 3
    empty = next(row for row in data["rows"] if not row["runs"])
    assert empty["digest"] is empty["serves"] is None and empty["measured"] == {}


def test_what_served_is_named_once_where_it_served_all(table: StudyTable) -> None:
    record = table.record
    assert record is not None
    ways = "uni: S1→S1, S2→S2; cross: S1→S2; predicted against cross: S2→S1"
    assert served_by(record, table.sensors) == ways
    same = record.model_copy(update={"serves": dict.fromkeys(record.serves, record.serves["ab"])})
    assert served_by(same, table.sensors) == "cross: all"
