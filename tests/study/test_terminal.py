"""Study tables and plans as they stand on a terminal."""

from __future__ import annotations

import pytest

from crbench.study.cards import load_study
from crbench.study.estimate import Planned
from crbench.study.table import StudyTable
from crbench.study.terminal import print_plan, print_study


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


def test_the_tables_of_the_page_are_printed(
    table: StudyTable, capsys: pytest.CaptureFixture[str]
) -> None:
    print_study(table)
    text = capsys.readouterr().out
    places = [text.index(part) for part in ("measured", "beside the published", "difference to")]
    assert places == sorted(places)
    for piece in ("63.0 ± 2.6", "73.48 → −10.5", "published −1.6", "seed 0, 1, 2 not run",
                  "- Measured, paired by seed"):  # fmt: skip
        assert piece in text
    assert "Table S2(a)" in text.splitlines()[0] and "synthetic" in text.splitlines()[0]


def planned(there: int, to_run: int, epoch_s: float | None, each: float) -> Planned:
    return Planned("row", "label", 6, there, to_run, epoch_s, each, "somewhere")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0.44, "0.4 s"), (99, "99 s"), (150, "2.5 min"), (5999, "100 min"), (7200, "2.0 h"),
     (40 * 3600, "40 h"), (60 * 3600, "2.5 days")],
)  # fmt: skip
def test_times_are_for_people(
    seconds: float, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    print_plan(load_study("table-s5"), "set", [planned(0, 2, 1.0, seconds)], 2, 1)
    text = capsys.readouterr().out
    assert f"2 runs to make, 0 there. About {shown} with 2 at a time, 1 thread each" in text


def test_a_time_that_is_not_known_is_not_made_up(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [planned(3, 0, 2.0, 12.0), planned(0, 3, None, 0.0)]
    print_plan(load_study("table-s5"), "set", lines, 1, 4)
    text = capsys.readouterr().out
    assert "3 runs to make, 3 there. Their time is not known here: build the cache of set" in text
    assert text.count(" – ") == 2 and "12 s" in text


def test_a_run_without_epochs_has_the_time_of_its_record(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_plan(load_study("table-1"), "set", [planned(1, 0, None, 2.1)], 1, 1)
    text = capsys.readouterr().out
    assert text.count(" – ") == 1 and "2.1 s" in text
