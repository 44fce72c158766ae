"""A record made again: how its scores are held against the old ones, and what it needs."""

from __future__ import annotations

from pathlib import Path

import pytest

from crbench.errors import UserError
from crbench.records import read_record
from crbench.study.reproduce import Outcome, remake_record

RECORDS = Path(__file__).resolve().parents[2] / "results" / "records"
TRAINED = RECORDS / "ben-14k-twin" / "cr-jepa" / "cr-jepa-tiny-seed0.json"


def test_a_score_that_is_missing_on_one_side_is_no_agreement() -> None:
    record = read_record(TRAINED)
    value = record.scores["ab"]["f1_item@5"].model_copy(update={"value": None})
    again = record.model_copy(deep=True)
    again.scores["ab"]["f1_item@5"] = value
    outcome = Outcome(record, again, TRAINED)
    assert outcome.points == float("inf") and not outcome.same_scores
    del again.scores["ab"]["f1_item@5"]
    assert Outcome(record, again, TRAINED).points == float("inf")
    del again.scores["ab"]
    assert Outcome(record, again, TRAINED).points == float("inf")
    nothing = record.model_copy(update={"scores": {}})
    assert Outcome(nothing, again, TRAINED).points == float("inf")
    same = Outcome(record, record, TRAINED)
    assert same.points == 0 and same.same_scores and same.differs() == []


def test_the_largest_distance_counts_and_what_else_differs_is_named() -> None:
    record = read_record(TRAINED)
    again = record.model_copy(deep=True)
    for direction, points in (("aa", 0.2), ("ba", -1.5)):
        score = again.scores[direction]["f1_item@5"]  # type: ignore[index]
        moved = score.model_copy(update={"value": score.value + points / 100})
        again.scores[direction]["f1_item@5"] = moved  # type: ignore[index]
    again.versions["torch"] = "9.9"
    del again.hardware["cores"]
    outcome = Outcome(record, again, TRAINED)
    assert outcome.points == pytest.approx(1.5) and not outcome.same_scores
    assert [pair.direction for pair in outcome.compared] == ["aa", "bb", "ab", "ba"]
    assert [round(pair.points, 6) for pair in outcome.compared] == [0.2, 0, 0, 1.5]
    assert outcome.differs() == [
        f"cores: {record.hardware['cores']} in the record, not there now",
        f"torch: {record.versions['torch']} in the record, 9.9 now",
    ]


def test_images_that_are_not_here_are_asked_for_before_anything_is_made(tmp_path: Path) -> None:
    real = read_record(RECORDS / "landsat7-pan-ms" / "random" / "random-tiny-seed0.json")
    lines: list[str] = []
    with pytest.raises(UserError, match="images that are not here") as caught:
        remake_record(real, out=tmp_path / "run", say=lines.append)
    assert caught.value.where == "--source" and lines == [] and not list(tmp_path.iterdir())
