"""Study tables: what was measured, beside what was printed, and both against a reference row.

Three questions, three tables: what did we measure; how far is that from the paper; does changing
one thing move the scores as it does in the paper. The third is the one that carries over to other
data and other model sizes.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crbench.board.notes import served
from crbench.board.published import PublishedRow, printed
from crbench.board.tables import score_of
from crbench.errors import UserError
from crbench.records import Record
from crbench.scoring.intervals import Effect, over_seeds
from crbench.study.cards import RUNS, Job, RowCard, StudyCard, row_jobs
from crbench.study.shelf import Shelf, last_failure
from crbench.words import DIRECTIONS

MEAN = "mean"  # a fifth column: the mean of the four directions
COLUMNS = (*DIRECTIONS, MEAN)
_UNSTATED = {"f1@5": "f1_item@5"}  # printed without a definition: held against the one we show


@dataclass
class StudyRow:
    """One row, by (column, metric). ``gap`` is ours − printed, ``effect`` ours − reference row."""

    name: str
    card: RowCard
    records: dict[int, Record]
    problem: str  # why it is not complete; empty where it is
    measured: dict[tuple[str, str], Effect] = field(default_factory=dict)
    printed: dict[tuple[str, str], float] = field(default_factory=dict)
    gap: dict[tuple[str, str], Effect] = field(default_factory=dict)
    effect: dict[tuple[str, str], Effect] = field(default_factory=dict)
    printed_effect: dict[tuple[str, str], float] = field(default_factory=dict)

    @property
    def first(self) -> Record | None:
        """Any of its records: cards, sizes and what served are the same in all."""
        return next(iter(self.records.values()), None)


@dataclass(frozen=True)
class StudyTable:
    """A study on one dataset, ready to be written."""

    study: StudyCard
    dataset: str
    scale: str
    seeds: int
    sensors: dict[str, str]
    metrics: tuple[str, ...]
    rows: list[StudyRow]
    published: list[PublishedRow]
    overrides: tuple[str, ...] = ()

    @property
    def record(self) -> Record | None:
        """Any record of the table: dataset and protocol are the same in all."""
        return next((row.first for row in self.rows if row.first), None)


def study_table(
    study: StudyCard,
    shelf: Shelf,
    *,
    scale: str | None,
    seeds: int,
    overrides: Sequence[str] = (),
    root: Path = RUNS,
) -> StudyTable:
    """The table of a study from the records on ``shelf``; rows without any say why."""
    card = shelf.dataset
    metrics = tuple(card.headline)
    benchmark = study.benchmark(card.name)
    rows, published = [], []
    for item in study.rows:
        jobs = row_jobs(item, card.name, scale, seeds, overrides, name=card.name)
        records = {job.seed: record for job in jobs if (record := shelf.get(job))}
        row = StudyRow(item.name, item, records, _problem(jobs, records, root))
        row.measured = {
            (column, metric): effect
            for metric in metrics
            for column in COLUMNS
            if (effect := over_seeds(list(_by_seed(row, column, metric).values())))
        }
        source = item.published or study.published
        lines = printed(source, benchmark, item.printed, item.name)
        if benchmark and item.printed and not lines:
            raise UserError(
                f"row '{item.name}' finds no line of the published table by {item.printed}",
                where=f"study card '{study.name}'",
                fix=f"correct its 'printed' after {source}",
            )
        published += lines
        for line in lines:
            metric = _UNSTATED.get(line.metric, line.metric)
            values = {d: v for d, v in line.values.items() if v is not None}
            if line.average is not None:
                values[MEAN] = line.average
            elif len(values) == len(DIRECTIONS):
                values[MEAN] = round(statistics.fmean(values.values()), 6)
            row.printed |= {(d, metric): value for d, value in values.items()}
        rows.append(row)
    reference = next(row for row in rows if row.name == study.reference)
    for row in rows:
        _compare(row, reference)
    return StudyTable(
        study=study,
        dataset=card.name,
        scale=scale or "paper",
        seeds=seeds,
        sensors={"a": card.a.name, "b": card.b.name},
        metrics=metrics,
        rows=rows,
        published=published,
        overrides=tuple(overrides),
    )


def _problem(jobs: Sequence[Job], records: Mapping[int, Record], root: Path) -> str:
    """Which of a row's runs failed and why, and which were not made."""
    parts, unmade = [], []
    for job in jobs:
        if job.seed in records:
            continue
        if failure := last_failure(job, root):
            parts.append(f"seed {job.seed} failed: {failure['what']}")
        else:
            unmade.append(str(job.seed))
    return "; ".join(parts + [f"seed {', '.join(unmade)} not run"] * bool(unmade))


def _by_seed(row: StudyRow, column: str, metric: str) -> dict[int, float]:
    """Values by seed; a seed in which one of the four directions is undefined has no mean."""
    by_seed = {}
    for seed, record in row.records.items():
        wanted = DIRECTIONS if column == MEAN else (column,)
        scores = [score_of(record, direction, metric) for direction in wanted]
        known = [score.value for score in scores if score and score.value is not None]
        if len(known) == len(wanted):
            by_seed[seed] = statistics.fmean(known)
    return by_seed


def _compare(row: StudyRow, reference: StudyRow) -> None:
    """Fill the differences: to the printed value, and to the reference row, seed by seed."""
    for key, value in row.printed.items():
        if effect := row.measured.get(key):
            low = None if effect.low is None else effect.low - value
            high = None if effect.high is None else effect.high - value
            row.gap[key] = Effect(effect.value - value, effect.sd, low, high, effect.n)
        if row is not reference and key in reference.printed:
            row.printed_effect[key] = value - reference.printed[key]
    if row is reference:
        return
    for column, metric in row.measured:
        mine, theirs = _by_seed(row, column, metric), _by_seed(reference, column, metric)
        pairs = [mine[seed] - theirs[seed] for seed in sorted(mine.keys() & theirs.keys())]
        if effect := over_seeds(pairs):
            row.effect[column, metric] = effect


def served_by(record: Record, sensors: Mapping[str, str]) -> str:
    """Which head or view served which directions, e.g. ``uni: S1→S1, S2→S2; cross: S1→S2``."""
    ways = served(record, sensors)
    if len(ways) == 1:
        return f"{next(iter(ways))}: all"
    return "; ".join(f"{how}: {', '.join(ds)}" for how, ds in ways.items())


def study_json(table: StudyTable) -> dict[str, Any]:
    """The table as plain data; values are fractions."""

    def plain(values: Mapping[tuple[str, str], Any]) -> dict[str, dict[str, Any]]:
        result: dict[str, dict[str, Any]] = {}
        for (column, metric), value in values.items():
            held = vars(value) if isinstance(value, Effect) else value
            result.setdefault(metric, {})[column] = held
        return result

    record = table.record
    return {
        "study": table.study.name,
        "table": table.study.table,
        "dataset": table.dataset,
        "synthetic": bool(record and record.dataset.synthetic),
        "scale": table.scale,
        "seeds": table.seeds,
        "reference": table.study.reference,
        "complete": not any(row.problem for row in table.rows),
        "rows": [
            {
                "name": row.name,
                "method": row.card.method,
                "set": row.card.set,
                "runs": [r.run for r in row.records.values()],
                "digest": row.first.method.digest if row.first else None,
                "problem": row.problem or None,
                "serves": served_by(row.first, table.sensors) if row.first else None,
                "params_trainable": row.first.params_trainable if row.first else None,
                "measured": plain(row.measured),
                "printed": plain(row.printed),
                "minus_printed": plain(row.gap),
                "minus_reference": plain(row.effect),
                "printed_minus_reference": plain(row.printed_effect),
            }
            for row in table.rows
        ],
    }
