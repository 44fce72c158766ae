"""A shelf of records made to measure, and the table of Table S2(a) that follows from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from crbench.cards import load_dataset
from crbench.records import Record
from crbench.study.cards import Job, load_study, row_jobs
from crbench.study.shelf import Shelf
from crbench.study.table import StudyTable, study_table

OFF = ("loss.uni=0.0", "loss.sig=0.0")


@pytest.fixture
def shelf(make_record: Callable[..., Record]) -> Shelf:
    """Table S2(a) with three seeds of its reference row and of 'pred + cross'."""
    made = Shelf(load_dataset("ben-14k-twin"))
    for seed, (whole, less) in enumerate([(0.70, 0.60), (0.72, 0.65), (0.74, 0.64)]):
        for overrides, value in (((), whole), (OFF, less)):
            record = make_record(
                value=value, seed=seed, overrides=overrides, values={"ab": value - 0.1}
            )
            made.records[record.method.digest, seed] = (Path(f"{seed}.json"), record)
    return made


@pytest.fixture
def table(shelf: Shelf) -> StudyTable:
    return study_table(load_study("table-s2a"), shelf, scale="tiny", seeds=3)


@pytest.fixture(scope="session")
def a_job() -> Callable[..., Job]:
    """``a_job(*overrides, seed=0)``: a run of the reference row of Table S2(a)."""

    def make(*overrides: str, seed: int = 0) -> Job:
        row = load_study("table-s2a").rows[-1]
        return row_jobs(row, "ben-14k-twin", "tiny", seed + 1, overrides)[seed]

    return make
