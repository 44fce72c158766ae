"""What a plan says of time: measured here for what is missing, from records for what is there."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from crbench.cards import load_dataset
from crbench.data.cache.reading import open_cache
from crbench.records import Record
from crbench.study import estimate
from crbench.study.cards import Job, load_study, study_jobs
from crbench.study.estimate import plan_runs
from crbench.study.shelf import Shelf


def test_what_is_missing_is_measured_here(
    a_job: Callable[..., Job], twin_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = open_cache(twin_cache)
    clock = SimpleNamespace(perf_counter=itertools.count().__next__)  # a step takes a second
    monkeypatch.setattr(estimate, "time", clock)
    for budget, size, epoch_s, source in (
        (60.0, 32, 3.0, "one epoch measured"),
        (60.0, 40, 2.0, "one epoch measured"),  # its last, smaller batch is left out
        (0.0, 32, 12.0, "measured on 8 of 96 pairs"),
    ):
        jobs = [a_job(f"train.batch_size={size}", seed=seed) for seed in (0, 1)]
        monkeypatch.setattr(estimate, "_BUDGET_S", budget)
        (line,) = plan_runs(jobs, Shelf(data.card), data, device="cpu", threads=1)
        assert (line.there, line.to_run, line.epoch_s, line.source) == (0, 2, epoch_s, source)
        assert line.seconds_each == line.epochs * epoch_s


def test_what_is_there_has_the_time_of_its_records(
    a_job: Callable[..., Job], make_record: Callable[..., Record]
) -> None:
    job = a_job()
    shelf = Shelf(load_dataset("ben-14k-twin"))
    for seed, train_s in ((0, 60.0), (1, 80.0)):
        record = make_record(seed=seed, timings={"train_s": train_s, "score_s": 10.0})
        shelf.records[job.card.digest, seed] = (Path("r.json"), record)
    jobs = [a_job(seed=seed) for seed in (0, 1)]
    (line,) = plan_runs(jobs, shelf, None, device="cpu", threads=1)
    assert (line.there, line.to_run, line.seconds_each) == (2, 0, 80.0)
    assert line.epoch_s == 60.0 / job.card.train.epochs
    assert line.source == "its record of 2026-01-02"


def test_without_a_cache_there_is_no_time_and_a_closed_form_needs_none() -> None:
    jobs = study_jobs(load_study("table-1"), "ben-14k-twin", "tiny", 3)
    lines = plan_runs(jobs, Shelf(load_dataset("ben-14k-twin")), None, device="cpu", threads=1)
    by_row = {
        line.row: (line.to_run, line.epoch_s, line.seconds_each, line.source) for line in lines
    }
    assert by_row["CR-JEPA"] == (3, None, 0.0, "no cache here to measure with")
    assert by_row["CCA"] == (1, None, 0.0, "not trained by epochs")
    assert len(lines) == 6
