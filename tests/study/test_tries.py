"""The page of a sweep: what it says of the best try, whatever the numbers are."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from crbench.scoring.intervals import over_seeds
from crbench.study.ablate import StudySettings
from crbench.study.sweep import AS_IT_IS, SweepCard, Try
from crbench.study.tries import tries_table, what_won, write_sweep

BY = "pair_r@5"
SENSORS = {"a": "S1", "b": "S2"}
CARD = SweepCard(name="x", title="X", question="Which?", method="cr-jepa", also=[["loss.sig=1"]])


def one(row: str, *means: float, behind: tuple[float, ...] = (), **more: str) -> Try:
    values = {s: {"ab": m - 0.1, "ba": m + 0.1, "mean": m} for s, m in enumerate(means)}
    return Try(row, f"{row}-abc", values, behind=over_seeds(behind), **more)


BEST = one("best", 0.5, 0.52, 0.54, behind=(0.0, 0.0, 0.0))
CLOSE = one("close", 0.51, 0.5, 0.52, behind=(0.01, -0.02, -0.02))
FAR = one("far", 0.01, 0.02, 0.03, behind=(-0.49, -0.5, -0.51), mark="collapsed")
NONE = one("none", problem="failed: no memory")


def test_the_table_has_the_directions_that_are_there_and_marks() -> None:
    table = tries_table(CARD, [BEST, CLOSE, FAR, NONE], BY, SENSORS)
    assert [column.head for column in table.columns] == [
        "try", "S1→S2", "S2→S1", "mean", "behind the best", "n", "marks",
    ]  # fmt: skip
    texts = [[cell.text for cell in row.cells] for row in table.rows]
    assert texts[0] == ["42.0", "62.0", "52.0", "–", "3", ""]
    assert texts[2][3] == "−50.0 [−52.5, −47.5]" and texts[2][-1] == "collapsed"
    assert texts[3] == ["–", "–", "–", "–", "0", "failed: no memory"]


@pytest.mark.parametrize(
    ("tries", "said"),
    [
        ([NONE], "No try has a score"),
        ([BEST, NONE], "Of 2 tries “best” is the best on val."),
        ([BEST, CLOSE, FAR], "1 of the 2 others lie behind it"),
        ([BEST, CLOSE, FAR], "1 cannot be told from it"),
        ([one("a", 0.5), one("b", 0.4)], "One training each"),
    ],
)
def test_it_says_how_sure_the_best_is(tries: list[Try], said: str) -> None:
    assert said in what_won(tries)


def test_page_and_file_hold_every_try_and_the_command(tmp_path: Path) -> None:
    settings = StudySettings(
        CARD.study(), "ben-14k-twin", tmp_path, scale="tiny", seeds=3, overrides=("train.epochs=2",)
    )
    (tmp_path / "x.note.md").write_text("What we make of it.\n")
    tries = [BEST, replace(FAR, row=AS_IT_IS), NONE]
    page, table = write_sweep(settings, CARD, tries, BY, SENSORS)
    text = page.read_text()
    words = "crbench sweep x --dataset ben-14k-twin --by pair_r@5 --seeds 3 --scale tiny"
    assert f"`{words} --set train.epochs=2`" in text and text.endswith("What we make of it.\n")
    lines = list(csv.DictReader(table.open()))
    assert len(lines) == 2 * 3 * 3 and {line["try"] for line in lines} == {"best", AS_IT_IS}
    assert lines[0]["value"] == "0.400000"
