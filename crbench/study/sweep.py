"""Sweeps: many settings of one method, judged on the split ``val`` by a metric that sees no label.

A sweep never scores what a board scores. Each try leaves a run folder whose log holds its scores on
``val`` after the last epoch; a sweep that was stopped goes on, and the page counts every try.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import Field, model_validator

from crbench.cards import Strict, parse, read_table
from crbench.files import read_jsonl
from crbench.run.folder import RunFolder
from crbench.run.opened import open_dataset
from crbench.scoring.intervals import Effect, over_seeds
from crbench.study.ablate import StudySettings, launch
from crbench.study.cards import Job, RowCard, StudyCard
from crbench.study.shelf import last_failure

SWEEPS, RUNS = "methods/sweeps", Path("runs/sweeps")
AS_IT_IS = "as it is"


class SweepCard(Strict):
    """Settings to try. ``axes``: a card key and its values, of which every combination is tried;
    ``also``: further tries, each a list of ``key=value``. The card as it is stands beside them."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")  # also the name of its files
    title: str
    question: str
    method: str
    axes: dict[str, list[str | int | float]] = Field(default_factory=dict)
    also: list[list[str]] = Field(default_factory=list)

    @model_validator(mode="after")
    def _tries(self) -> SweepCard:
        if not self.combinations:
            raise ValueError("there is nothing to try: give axes or also")
        if len(set(self.combinations)) < len(self.combinations):
            raise ValueError("a combination repeats")
        return self

    @property
    def combinations(self) -> list[tuple[str, ...]]:
        """What each try sets, the card as it is left out."""
        axes = [[f"{key}={value}" for value in values] for key, values in self.axes.items()]
        product = list(itertools.product(*axes)) if axes else []
        return [*product, *map(tuple, self.also)]

    def study(self) -> StudyCard:
        """The same as a study's rows, whose runs the launchers make."""
        rows = [RowCard(name=AS_IT_IS, method=self.method)]
        rows += [RowCard(name=", ".join(sets), method=self.method, set=list(sets))
                 for sets in self.combinations]  # fmt: skip
        return StudyCard(
            name=self.name, title=self.title, table="Sweep", question=self.question,
            datasets=["val"], published="", reference=AS_IT_IS, rows=rows,
        )  # fmt: skip


def load_sweep(name: str) -> SweepCard:
    """A sweep card by name or path."""
    return parse(SweepCard, read_table(SWEEPS, name), where=f"sweep card '{name}'")


@dataclass(frozen=True)
class Try:
    """One combination: its scores on ``val``, fractions by direction and seed, and what they say.

    ``score`` is the mean over directions and seeds; ``behind`` how far it lies behind the best try,
    paired by seed. ``mark``: collapsed or nearly so. ``problem``: why it has no score.
    """

    row: str
    label: str
    values: dict[int, dict[str, float]]
    mark: str = ""
    problem: str = ""
    behind: Effect | None = None

    @property
    def score(self) -> float | None:
        means = [by_direction["mean"] for by_direction in self.values.values()]
        return statistics.fmean(means) if means else None


def run_sweep(settings: StudySettings, by: str) -> dict[str, int]:
    """Make the tries that are missing; exit codes by run. A try that fails stops no other."""
    data = open_dataset(settings.dataset, settings.cache)
    missing = [job for job in settings.jobs if val_scores(job, settings.root, by) is None]
    return launch(settings, missing, data, judge=True)


def val_scores(job: Job, root: Path, by: str) -> dict[str, Any] | None:
    """What the log of a try's run says of ``val`` after its last epoch; None if it does not yet."""
    log = RunFolder(job.folder(root)).metrics
    lines = read_jsonl(log) if log.is_file() else []
    if not lines or lines[-1]["epoch"] < job.card.train.epochs:
        return None
    found = lines[-1].get("val")
    return found if found and by in found["scores"] else None


def sweep_tries(jobs: Sequence[Job], by: str, root: Path = RUNS) -> list[Try]:
    """Every try of a sweep, the best first, those without a score last."""
    rows = dict.fromkeys(job.row for job in jobs)
    tries = [_try([job for job in jobs if job.row == row], by, root) for row in rows]
    tries.sort(key=lambda one: (one.score is None, -(one.score or 0)))
    best = tries[0].values
    behind = [
        [values["mean"] - best[seed]["mean"] for seed, values in one.values.items() if seed in best]
        for one in tries
    ]
    return [replace(one, behind=over_seeds(b)) for one, b in zip(tries, behind, strict=True)]


def _try(jobs: Sequence[Job], by: str, root: Path) -> Try:
    """One combination, from the logs of its runs, a run a seed."""
    found = {job.seed: val for job in jobs if (val := val_scores(job, root, by))}
    values = {
        seed: {d: v for d, v in val["scores"][by].items() if v is not None}
        for seed, val in sorted(found.items())
    }
    marks = {
        "collapsed" if val["collapsed"] else "near collapse"
        for val in found.values()
        if val["collapsed"] or val["narrow"]
    }
    failures = [last_failure(job, root) for job in jobs if job.seed not in found]
    problem = next((f"failed: {failure['what']}" for failure in failures if failure), "")
    return Try(
        jobs[0].row,
        jobs[0].label,
        {seed: by_direction for seed, by_direction in values.items() if "mean" in by_direction},
        ", ".join(sorted(marks)),
        problem or ("" if found else "not run"),
    )
