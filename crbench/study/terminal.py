"""Study tables and plans on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from crbench.board.tables import DASH, print_notes, terminal_table, text_table
from crbench.study.cards import StudyCard
from crbench.study.pages import metric_tables, study_title
from crbench.study.table import StudyTable

if TYPE_CHECKING:
    from crbench.study.estimate import Planned


def print_study(table: StudyTable) -> None:
    """The tables of the study's page."""
    console = Console(highlight=False)
    console.print(Text(study_title(table), style="bold"))
    for metric in table.metrics:
        for shown in metric_tables(table, metric):
            console.print(terminal_table(shown, shown.title))
            print_notes(console, shown.notes)


def print_plan(
    study: StudyCard, dataset: str, lines: Sequence[Planned], max_jobs: int, threads: int
) -> None:
    """Runs that are there and that are missing, the time of each and of all."""
    console = Console(highlight=False)
    cells = []
    for line in lines:
        epoch = DASH if line.epoch_s is None else _duration(line.epoch_s)
        each = _duration(line.seconds_each) if line.epoch_s or line.seconds_each else DASH
        cells.append([line.row, str(line.there), str(line.to_run), epoch, each, line.source])
    heads = ["row", "there", "to run", "an epoch", "a run", "known from"]
    title = f"{study.table} on {dataset}"
    console.print(terminal_table(text_table(title, heads, cells, left=["known from"]), title))
    missing = sum(line.to_run for line in lines)
    total = sum(line.to_run * line.seconds_each for line in lines)
    if any(line.to_run and line.epoch_s is None and line.epochs for line in lines):
        time = f"Their time is not known here: build the cache of {dataset} first."
    else:
        time = (
            f"About {_duration(total / max_jobs)} with {max_jobs} at a time, {threads} thread"
            f"{'s' * (threads > 1)} each; evaluation counts where a record tells it."
        )
    console.print(f"{missing} runs to make, {sum(line.there for line in lines)} there. {time}")


def _duration(seconds: float) -> str:
    """A time for people: ``0.4 s``, ``12 min``, ``3.5 h``."""
    for limit, unit, size in ((100, "s", 1), (6000, "min", 60), (48 * 3600, "h", 3600)):
        if seconds < limit:
            value = seconds / size
            return f"{value:.1f} {unit}" if value < 10 else f"{value:.0f} {unit}"
    return f"{seconds / 86400:.1f} days"
