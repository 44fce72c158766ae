"""Which runs are there, found by card and seed in any record, and why others failed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from crbench.cards import load_dataset
from crbench.errors import UserError
from crbench.records import Record, write_record
from crbench.study.cards import Job
from crbench.study.shelf import Shelf, last_failure, write_failure

RECORDS = Path(__file__).resolve().parents[2] / "results" / "records"


def test_a_run_that_any_record_holds_is_there(a_job: Callable[..., Job]) -> None:
    card = load_dataset("ben-14k-twin")
    shelf = Shelf(card).fill([RECORDS])
    assert all(shelf.get(job) and shelf.path(job) for job in (a_job(), a_job(seed=2)))
    for job in (a_job("loss.sig=0.021"), a_job(seed=77)):
        assert shelf.get(job) is None and shelf.path(job) is None
    other = Shelf(card, cache_digest="0" * 64).fill([RECORDS])
    assert other.get(a_job()) is None
    normalised = card.model_copy(update={"normalise": "published"})
    assert not Shelf(normalised).fill([RECORDS]).records


@pytest.mark.parametrize("changed", [{"finished": False}, {"checkpoint": "best"}])
def test_a_run_that_is_not_whole_is_to_run(
    tmp_path: Path, changed: dict[str, object], a_job: Callable[..., Job]
) -> None:
    card = load_dataset("ben-14k-twin")
    whole = Shelf(card).fill([RECORDS]).get(a_job())
    assert whole is not None and whole.training is not None
    training = whole.training.model_copy(update=changed)
    for name, record in (
        ("whole", whole),
        ("part", whole.model_copy(update={"training": training})),
    ):
        path = tmp_path / name / "record.json"
        path.parent.mkdir()
        path.write_text(record.model_dump_json())
    for name, there in (("whole", True), ("part", False)):
        shelf = Shelf(card).fill([tmp_path / name])
        assert (shelf.get(a_job()) is not None) == there


def test_the_first_made_stays_and_the_newest_pixels_are_taken(
    make_record: Callable[..., Record], tmp_path: Path
) -> None:
    card = load_dataset("ben-14k-twin")
    for name, cache, created, seed in (
        ("old-pixels", "a", "2026-01-01T00:00:00Z", 0),
        ("repeated", "b", "2026-01-03T00:00:00Z", 0),
        ("first", "b", "2026-01-02T00:00:00Z", 0),
        ("other-seed", "b", "2026-01-04T00:00:00Z", 1),
    ):
        record = make_record(seed=seed, cache=cache * 64, created=created)
        write_record(tmp_path / "runs" / f"{name}.json", record)
    (tmp_path / "runs" / "run.json").write_text('{"scores": 1}')  # no record
    shelf = Shelf(card).fill([tmp_path / "nowhere", tmp_path / "runs"])
    assert shelf.cache_digest == "b" * 64
    assert {path.stem for path, _ in shelf.records.values()} == {"first", "other-seed"}
    (old,) = Shelf(card, cache_digest="a" * 64).fill([tmp_path / "runs"]).records.values()
    assert old[0].stem == "old-pixels"


def test_why_a_run_failed_is_kept(tmp_path: Path, a_job: Callable[..., Job]) -> None:
    job = a_job()
    assert last_failure(job, tmp_path) is None
    problem = UserError("it rains", where="outside", fix="take an umbrella")
    write_failure(str(job.aside("failures", tmp_path)), problem, ["crbench", "train"])
    failure = last_failure(job, tmp_path)
    assert failure is not None and failure.pop("created").startswith("20")
    assert failure == {
        "what": "it rains", "where": "outside", "fix": "take an umbrella",
        "command": ["crbench", "train"],
    }  # fmt: skip
    assert json.loads(job.aside("failures", tmp_path).read_text())["what"] == "it rains"
