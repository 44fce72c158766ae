"""Study tables and plans on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from crbench import words as names
from crbench.board.tables import (
    Column,
    TableCell,
    points,
    printed_percent,
    terminal_table,
    text_table,
)
from crbench.study.cards import StudyCard
from crbench.study.pages import (
    Key,
    bracketed_points,
    measured_cell,
    metric_table,
    n_cell,
    study_title,
)
from crbench.study.table import StudyRow, StudyTable, served

if TYPE_CHECKING:
    from crbench.study.estimate import Planned


def print_study(table: StudyTable) -> None:
    """Per metric: measured and published values, and their difference to the reference row."""

    def views(row: StudyRow) -> TableCell:
        text = served(row.first, table.sensors) if row.first else ""
        return TableCell(text, marks=(row.problem,) if row.problem else ())

    more = [(Column("n"), n_cell), (Column("served by", right=False), views)]
    console = Console()
    for metric in table.metrics:
        title = f"{study_title(table)} · {names.title(metric)}"
        shown = metric_table(table, metric, _cell, title=title, more=more)
        console.print(terminal_table(shown))
    console.print(
        f"[dim]Δ: difference to “{table.study.reference}”, paired by seed, with its 95 % interval "
        "over seeds.[/]",
        highlight=False,
    )


def _cell(row: StudyRow, key: Key) -> TableCell:
    below = [f"publ. {printed_percent(row.printed[key])}"] if key in row.printed else []
    if effect := row.effect.get(key):
        below.append(f"Δ {bracketed_points(effect)}")
        if key in row.printed_effect:
            below.append(f"publ. Δ {points(row.printed_effect[key])}")
    return measured_cell(row, key, below=tuple(below))


def print_plan(
    study: StudyCard, dataset: str, lines: Sequence[Planned], max_jobs: int, threads: int
) -> None:
    """Runs that are there and that are missing, the time of each and of all."""
    console = Console()
    cells = []
    for line in lines:
        known = line.epoch_s is not None or line.seconds_each > 0
        epoch = duration(line.epoch_s) if line.epoch_s is not None else "–"
        each = duration(line.seconds_each) if known else "–"
        cells.append([line.row, str(line.there), str(line.to_run), epoch, each, line.source])
    heads = ["row", "there", "to run", "an epoch", "a run", "known from"]
    title = f"{study.table} on {dataset}"
    console.print(terminal_table(text_table(title, heads, cells, left=["known from"])))
    missing = sum(line.to_run for line in lines)
    total = sum(line.to_run * line.seconds_each for line in lines)
    counts = f"{missing} runs to make, {sum(line.there for line in lines)} there."
    if any(line.to_run and line.epoch_s is None and line.epochs for line in lines):
        said = f"Their time is not known here: build the cache of {dataset} first."
    else:
        said = (
            f"About {duration(total / max_jobs)} with {max_jobs} at a time, {threads} thread"
            f"{'s' * (threads > 1)} each; evaluation counts where a record tells it."
        )
    console.print(f"{counts} {said}", highlight=False)


def duration(seconds: float) -> str:
    """A time for people: ``0.4 s``, ``12 min``, ``3.5 h``."""
    for limit, unit, size in ((100, "s", 1), (6000, "min", 60), (48 * 3600, "h", 3600)):
        if seconds < limit:
            value = seconds / size
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{seconds / 86400:.1f} days"
