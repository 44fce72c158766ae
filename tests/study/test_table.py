"""The arithmetic of study tables, on records made to measure, and the committed pages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from scipy.stats import ttest_1samp

from crbench.cards import load_dataset
from crbench.errors import UserError
from crbench.files import write_json
from crbench.records import Record
from crbench.scoring.intervals import over_seeds
from crbench.study.cards import Job, StudyCard, load_study, row_jobs
from crbench.study.pages import study_csv, study_markdown, write_study
from crbench.study.shelf import Shelf
from crbench.study.table import study_json, study_table

RESULTS = Path(__file__).resolve().parents[2] / "results"
OFF = ("loss.uni=0.0", "loss.sig=0.0")


@pytest.fixture
def shelf(make_record: Callable[..., Record]) -> Shelf:
    """Table S2(a) with three seeds of its reference row and of 'pred + cross'."""
    card = load_dataset("ben-14k-twin")
    found = Shelf(card)
    for seed, (whole, less) in enumerate([(0.70, 0.60), (0.72, 0.65), (0.74, 0.64)]):
        for overrides, value in (((), whole), (OFF, less)):
            record = make_record(
                value=value, seed=seed, overrides=overrides, values={"ab": value - 0.1}
            )
            found.records[record.method.digest, seed] = (Path(f"{seed}.json"), record)
    return found


def table_of(shelf: Shelf, seeds: int = 3):  # type: ignore[no-untyped-def]
    return study_table(load_study("table-s2a"), shelf, scale="tiny", seeds=seeds)


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


def test_differences_are_paired_by_seed_and_the_published_ones_stand_beside(shelf: Shelf) -> None:
    rows = {row.name: row for row in table_of(shelf).rows}
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


def test_the_mean_column_is_that_of_the_four_directions(shelf: Shelf) -> None:
    row = table_of(shelf).rows[0]
    assert row.measured["mean", "f1_item@5"].value == pytest.approx(0.63 - 0.1 / 4)
    assert row.printed["mean", "f1_item@5"] == pytest.approx(0.6129)  # as printed


def test_rows_without_records_say_so_and_hold_no_numbers(shelf: Shelf) -> None:
    table = table_of(shelf, seeds=4)
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


def test_the_page_says_what_it_is(shelf: Shelf, tmp_path: Path) -> None:
    table = table_of(shelf)
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


def test_a_row_that_finds_no_published_line_is_an_error(shelf: Shelf) -> None:
    study = load_study("table-s2a")
    row = study.rows[0].model_copy(update={"printed": {"pred": "7"}})
    wrong = study.model_copy(update={"rows": [row, *study.rows[1:]]})
    with pytest.raises(UserError, match="'pred \\+ cross' finds no line"):
        study_table(wrong, shelf, scale="tiny", seeds=3)


def test_a_dataset_that_no_table_knows_has_no_published_column() -> None:
    study: StudyCard = load_study("table-2")
    assert study.benchmark("landsat7-pan-ms") is None
    assert study.benchmark("dsrsid-twin") == "dsrsid"
    assert load_study("table-s3").benchmark("ben-14k-twin") == "ben-14k"
