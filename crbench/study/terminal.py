"""Study tables and plans on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from crbench import words as names
from crbench.board.text import percent
from crbench.study.pages import bracket, points, title
from crbench.study.study import StudyCard
from crbench.study.table import COLUMNS, MEAN, StudyTable, served
from crbench.words import arrow

if TYPE_CHECKING:
    from crbench.study.estimate import Planned


def print_study(table: StudyTable) -> None:
    """Per metric: measured and published values, and their difference to the reference row."""
    console = Console()
    for metric in table.metrics:
        shown = [c for c in COLUMNS if any((c, metric) in row.measured for row in table.rows)]
        out = Table(title=f"{title(table)} · {names.title(metric)}", title_justify="left")
        out.add_column("row")
        for column in shown:
            out.add_column(
                arrow(column, table.sensors) if column != MEAN else MEAN, justify="right"
            )
        out.add_column("n", justify="right")
        out.add_column("served by")
        for row in table.rows:
            cells = []
            for column in shown:
                key = (column, metric)
                effect = row.measured.get(key)
                text = "–" if effect is None else percent(effect.value)
                text += f" ± {100 * effect.sd:.1f}" if effect and effect.sd is not None else ""
                if key in row.printed:
                    text += f"\n[dim]publ. {100 * row.printed[key]:.2f}[/]"
                if change := row.effect.get(key):
                    text += f"\n[dim]Δ {points(change.value)}{_safe(bracket(change, points))}[/]"
                    if key in row.printed_effect:
                        text += f"\n[dim]publ. Δ {points(row.printed_effect[key])}[/]"
                cells.append(text)
            said = served(row.first, table.sensors) if row.first else ""
            if row.problem:
                said += ("\n" if said else "") + f"[red]{_safe(row.problem)}[/]"
            out.add_row(row.name, *cells, str(len(row.records) or "–"), said, end_section=True)
        console.print(out)
    console.print(
        f"[dim]Δ: difference to “{table.study.reference}”, paired by seed, with its 95 % interval "
        "over seeds.[/]",
        highlight=False,
    )


def _safe(text: str) -> str:
    return text.replace("[", r"\[")


def print_plan(
    study: StudyCard, dataset: str, lines: Sequence[Planned], max_jobs: int, threads: int
) -> None:
    """Runs that are there and that are missing, the time of each and of all."""
    console = Console()
    table = Table(title=f"{study.table} on {dataset}", title_justify="left")
    for head in ("row", "there", "to run", "an epoch", "a run", "known from"):
        table.add_column(head, justify="left" if head in ("row", "known from") else "right")
    for line in lines:
        known = line.epoch_s is not None or line.seconds_each > 0
        epoch = duration(line.epoch_s) if line.epoch_s is not None else "–"
        each = duration(line.seconds_each) if known else "–"
        table.add_row(line.row, str(line.there), str(line.to_run), epoch, each, line.source)
    console.print(table)
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
