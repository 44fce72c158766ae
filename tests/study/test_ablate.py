"""A study: what is missing is made, records are kept, and a run that fails stops no other."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from crbench.cards import load_dataset
from crbench.files import read_json
from crbench.study import ablate
from crbench.study.ablate import StudySettings, cache_at_hand, run_study, settled, shelf_of
from crbench.study.cards import Job, load_study
from crbench.study.job import run_job
from crbench.study.launch import RunTask, Tell
from crbench.study.shelf import last_failure

STUDY = """
name = "floors"
title = "A floor, and one that fails"
table = "Table 0"
question = "Does a failed row stop the other?"
datasets = ["ben-14k"]
published = "table-1.csv"
reference = "band statistics"

[[rows]]
name = "fails"
method = "random"
set = ["model.width=7"]

[[rows]]
name = "band statistics"
method = "band-stats"
"""


def test_a_begun_run_goes_on_with_its_own_threads(
    trained_run: Path, tmp_path: Path, a_job: Callable[..., Job]
) -> None:
    job = a_job()
    assert settled(job.folder(tmp_path), "auto", 7) == {"device": "auto", "threads": 7}
    shutil.copytree(trained_run, job.folder(tmp_path))
    threads = read_json(trained_run / "run.json")["threads"]
    assert settled(job.folder(tmp_path), "auto", threads + 7) == {
        "device": "cpu",
        "threads": threads,
    }


def in_this_process(tasks: Sequence[RunTask], max_jobs: int, tell: Tell) -> dict[str, int]:
    """A launcher without processes, which take seconds to start."""
    return {task.name: run_job(json.dumps(task.spec | {"parent": None})) for task in tasks}


def test_what_is_missing_is_made_and_a_run_that_fails_stops_no_other(
    twin_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["pytest"])
    monkeypatch.setattr(ablate, "launch_local", in_this_process)
    (tmp_path / "floors.toml").write_text(STUDY)
    settings = StudySettings(
        load_study("floors.toml"), "ben-14k-twin", tmp_path / "out", scale="tiny", seeds=1,
        cache=twin_cache, threads=1, max_jobs=2, quiet=True,
    )  # fmt: skip
    assert settings.threads_each == 1
    codes = run_study(settings)
    assert codes == {"fails, seed 0": 2, "band statistics, seed 0": 0}
    (kept,) = (tmp_path / "out" / "records").iterdir()
    shelf = shelf_of(settings, cache_at_hand(settings))
    made = {job.row: shelf.get(job) for job in settings.jobs}
    assert made["fails"] is None and (record := made["band statistics"]) is not None
    assert record.method.name == "band-stats" and kept.name == settings.jobs[1].record_name
    failure = last_failure(settings.jobs[0])
    assert failure is not None and "model.width" in failure["what"]
    assert run_study(settings) == {"fails, seed 0": 2}  # tried again, the other is there


def test_a_table_can_be_made_without_the_cache(tmp_path: Path) -> None:
    nowhere = StudySettings(
        load_study("table-s5"), "ben-14k-twin", tmp_path, scale="tiny", cache=tmp_path / "no.h5"
    )
    assert cache_at_hand(nowhere) is None
    assert shelf_of(nowhere, None).dataset == load_dataset("ben-14k-twin")
