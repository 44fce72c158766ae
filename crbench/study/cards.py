"""Study cards: an ablation table of a paper as data, and the runs that it needs.

A study has rows; a row is a method card with some keys changed. Rows that resolve to the same
card are one run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from crbench.cards import MethodCard, Strict, load_dataset, load_method, parse, read_table

STUDIES = "methods/studies"
RUNS = Path("runs/ablations")


class RowCard(Strict):
    """One row: what is changed, and which line of the published table it stands beside."""

    name: str
    method: str = "cr-jepa"
    set: list[str] = Field(default_factory=list)
    printed: dict[str, str] = Field(default_factory=dict)  # column → text that finds the line
    published: str | None = None  # another file than the study's
    x: float | None = None  # place on the axis, where the rows vary one number


class StudyCard(Strict):
    """A table of a paper. ``reference`` is the row that the others are held against."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")  # also the name of its files
    title: str
    table: str
    question: str
    kind: Literal["train", "profile"] = "train"
    datasets: list[str] = Field(min_length=1)  # those of the published table
    published: str
    reference: str
    rows: list[RowCard] = Field(min_length=1)

    @model_validator(mode="after")
    def _rows(self) -> StudyCard:
        names = [row.name for row in self.rows]
        if len(set(names)) != len(names):
            raise ValueError("row names repeat")
        if self.reference not in names:
            raise ValueError(f"reference '{self.reference}' is not among the rows {names}")
        return self

    def benchmark(self, dataset: str) -> str | None:
        """Which published dataset stands beside ``dataset``: itself, its twin's model, the only."""
        for name in (dataset, dataset.partition("-twin")[0]):
            if name in self.datasets:
                return name
        return self.datasets[0] if len(self.datasets) == 1 else None


def load_study(name: str) -> StudyCard:
    """A study card by name or path; its rows are resolved when their runs are listed."""
    return parse(StudyCard, read_table(STUDIES, name), where=f"study card '{name}'")


@dataclass(frozen=True)
class Job:
    """One run: a resolved method card, a dataset and a seed."""

    row: str
    method: str
    scale: str | None
    overrides: tuple[str, ...]
    card: MethodCard
    dataset: str  # a name or a .toml file
    dataset_name: str
    seed: int

    @property
    def key(self) -> tuple[str, int]:
        """What makes two runs the same: card and seed."""
        return self.card.digest, self.seed

    @property
    def label(self) -> str:
        """Names the run in folders and record files; equal cards have equal labels."""
        scale = "" if self.card.scale == "paper" else f"@{self.card.scale}"
        return f"{self.card.name}{scale}-{self.card.digest[:8]}"

    def folder(self, root: Path = RUNS) -> Path:
        """Where it is trained."""
        return root / self.dataset_name / self.label / f"seed{self.seed}"

    def aside(self, kind: str, root: Path = RUNS) -> Path:
        """Its ``logs`` or ``failures`` file, outside the run's own folder."""
        suffix = {"logs": "log", "failures": "json"}[kind]
        return root / self.dataset_name / kind / f"{self.label}-seed{self.seed}.{suffix}"

    @property
    def record_name(self) -> str:
        """File name of its record among those of a table."""
        return f"{self.label}-seed{self.seed}.json"


def option_words(options: Mapping[str, object]) -> list[str]:
    """A command's options as words: one for each item of a list, none for None, False and "",
    without a value for True."""
    words = []
    for option, held in options.items():
        for value in held if isinstance(held, list | tuple) else [held]:
            if value is True:
                words.append(option)
            elif value not in (None, "") and value is not False:
                words += [option, str(value)]
    return words


def row_jobs(
    row: RowCard,
    dataset: str,
    scale: str | None,
    seeds: int,
    overrides: Sequence[str] = (),
    *,
    name: str | None = None,
) -> list[Job]:
    """The runs of one row; what is fitted in closed form is the same for every seed: one run.

    ``overrides`` are laid over every row but the floors. ``dataset`` is a name or a file, ``name``
    the name inside it where it is known already.
    """
    from crbench.models.registry import method_class  # with torch, which a table can do without

    card, sets = load_method(row.method, scale=scale, overrides=row.set), tuple(row.set)
    if overrides and card.kind != "floor":
        sets += tuple(overrides)
        card = load_method(row.method, scale=scale, overrides=sets)
    count = seeds if method_class(card).trained_by == "gradient" else 1
    name = name or load_dataset(dataset).name
    return [
        Job(row.name, row.method, scale, sets, card, dataset, name, seed) for seed in range(count)
    ]


def study_jobs(
    study: StudyCard, dataset: str, scale: str | None, seeds: int, overrides: Sequence[str] = ()
) -> list[Job]:
    """The distinct runs of a study, seed by seed, so that a whole table exists early."""
    distinct: dict[tuple[str, int], Job] = {}
    name = load_dataset(dataset).name
    for row in study.rows:
        for job in row_jobs(row, dataset, scale, seeds, overrides, name=name):
            distinct.setdefault(job.key, job)
    return sorted(distinct.values(), key=lambda job: job.seed)
