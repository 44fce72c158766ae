"""What a sweep tried and what won, as a page, a file for machines and on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from crbench.board.board_data import csv_of
from crbench.board.markup import markdown_table
from crbench.board.tables import DASH, Table, percent, points, terminal_table, text_table
from crbench.files import write_text
from crbench.study.ablate import StudySettings
from crbench.study.sweep import SweepCard, Try
from crbench.words import DIRECTIONS, arrow, title


def tries_table(card: SweepCard, tries: Sequence[Try], by: str, sensors: dict[str, str]) -> Table:
    """The tries, the best first: percent on ``val``, and points behind the best."""
    shown = [d for d in DIRECTIONS if any(d in v for one in tries for v in one.values.values())]
    lines = []
    for number, one in enumerate(tries, start=1):
        behind = DASH if one.behind is None or number == 1 else points(one.behind.value)
        if number > 1 and one.behind and one.behind.low is not None:
            behind += f" [{points(one.behind.low)}, {points(one.behind.high or 0)}]"
        cells = [percent(_over_seeds(one, d)) for d in shown]
        note = one.problem or one.mark
        lines.append([one.row, *cells, percent(one.score), behind, str(len(one.values)), note])
    heads = ["try", *(arrow(d, sensors) for d in shown), "mean", "behind the best", "n", "marks"]
    return text_table(f"{title(by)} on val", heads, lines, left=["marks"])


def _over_seeds(one: Try, direction: str) -> float | None:
    values = [v[direction] for v in one.values.values() if direction in v]
    return sum(values) / len(values) if values else None


def what_won(tries: Sequence[Try]) -> str:
    """What won and how sure that is, in a sentence."""
    scored = [one for one in tries if one.score is not None]
    if not scored:
        return "No try has a score yet."
    best, n = scored[0], len(scored[0].values)
    many = f"Of {len(tries)} tries “{best.row}” is the best on val."
    if len(scored) == 1:
        return many
    if n < 2:
        return f"{many} One training each: how sure that is, this does not tell."
    apart = [one for one in scored[1:] if one.behind and one.behind.high is not None
             and one.behind.high < 0]  # fmt: skip
    return (
        f"{many} {len(apart)} of the {len(scored) - 1} others lie behind it with a 95 % interval "
        f"over {n} seeds below zero (not corrected for the number of tries); "
        f"{len(scored) - 1 - len(apart)} cannot be told from it."
    )


def write_sweep(
    settings: StudySettings, card: SweepCard, tries: Sequence[Try], by: str, sensors: dict[str, str]
) -> list[Path]:
    """``<sweep>.md`` and ``.csv`` in the study's ``out``: the same runs give the same bytes."""
    options = f"--dataset {settings.dataset} --by {by} --seeds {settings.seeds}"
    options += f" --scale {settings.scale}" if settings.scale else ""
    options += "".join(f" --set {item}" for item in settings.overrides)
    text = (
        f"# Sweep: {card.title}\n\n{card.question}\n\n"
        f"Made by `crbench sweep {card.name} {options}`; do not edit it by hand. Judged on the\n"
        f"split `val` alone: no score of a board was looked at.\n\n{what_won(tries)}\n\n"
        f"{markdown_table(tries_table(card, tries, by, sensors))}\n"
    )
    note = settings.out / f"{card.name}.note.md"
    if note.is_file():
        text += "\n" + note.read_text(encoding="utf-8")
    write_text(settings.out / f"{card.name}.md", text)
    columns = ("sweep", "dataset", "try", "run", "seed", "metric", "direction", "value", "mark")
    write_text(settings.out / f"{card.name}.csv", csv_of(columns, tries_lines(settings, tries, by)))
    return [settings.out / f"{card.name}.md", settings.out / f"{card.name}.csv"]


def tries_lines(settings: StudySettings, tries: Sequence[Try], by: str) -> list[dict[str, Any]]:
    """One line per try, seed and direction; values are fractions."""
    return [
        {"sweep": settings.study.name, "dataset": settings.dataset, "try": one.row,
         "run": one.label, "seed": seed, "metric": by, "direction": direction, "value": value,
         "mark": one.mark}
        for one in tries
        for seed, by_direction in sorted(one.values.items())
        for direction, value in by_direction.items()
    ]  # fmt: skip


def print_tries(card: SweepCard, tries: Sequence[Try], by: str, sensors: dict[str, str]) -> None:
    """The table and the what_won on the terminal."""
    console = Console(highlight=False)
    shown = tries_table(card, tries, by, sensors)
    console.print(terminal_table(shown, f"{card.title}: {shown.title}"))
    console.print(what_won(tries))
