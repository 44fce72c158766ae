"""The command that leads from a number back to how it was made: reproduce."""

from __future__ import annotations

import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from crbench.cli import options as opt

if TYPE_CHECKING:
    from crbench.records import Record
    from crbench.study.reproduce import Outcome


def reproduce_command(
    record: Path = typer.Argument(help="Record file, e.g. below results/records."),
    run: bool = typer.Option(False, "--run", help="Run the commands, and compare the scores."),
    source: Path | None = typer.Option(None, help="Raw data of a set that is not synthetic."),
    out: Path | None = typer.Option(None, help="Run folder instead of one below runs/again."),
    tolerance: float | None = typer.Option(
        None, min=0, help="Points that scores may differ by. Default: 0.5."
    ),
    as_json: opt.AsJson = False,
    quiet: opt.Quiet = False,
) -> None:
    """Print the commands that make a record again; with --run, run them and compare the scores.

    Exit code 1 where a headline score differs by more than the tolerance.
    """
    from crbench.records import read_record
    from crbench.study.reproduce import POINTS, remake_record

    entry = read_record(record)
    if not run:
        only_run = {"--source": source, "--out": out, "--tolerance": tolerance}
        opt.refuse_options(only_run, "goes with --run", fix="add --run, or leave it out")
        _print_commands(entry, as_json)
        return
    most = POINTS if tolerance is None else tolerance

    def say(line: str) -> None:
        if not quiet:
            print(f"$ {line}", file=sys.stderr, flush=True)

    outcome = remake_record(entry, source=source, out=out, quiet=quiet or as_json, say=say)
    if as_json:
        opt.print_json(outcome_data(outcome, most))
    else:
        _print_outcome(outcome, most)
    if outcome.points > most:
        raise typer.Exit(1)


def _print_commands(entry: Record, as_json: bool) -> None:
    """The commands of a record, or why there are none."""
    import shlex

    from crbench.study.commands import command_lines, record_steps

    if as_json:
        opt.print_json({"run": entry.run, "commands": command_lines(entry)})
        return
    for words in record_steps(entry):
        print(shlex.join(words))
    if not entry.dataset.synthetic:
        print(f"DIR holds the images: {entry.dataset.card['where']}", file=sys.stderr)


def outcome_data(outcome: Outcome, most: float) -> dict[str, Any]:
    """The outcome as plain data; scores are fractions, distances percentage points (None where a
    score is missing on one side)."""
    return {
        "run": outcome.record.run,
        "record": str(outcome.path),
        "same_scores": outcome.same_scores,
        "largest_difference_points": outcome.points if math.isfinite(outcome.points) else None,
        "tolerance_points": most,
        "within_tolerance": outcome.points <= most,
        "scores": [vars(line) for line in outcome.compared],
        "differs": outcome.differs(),
    }


def _print_outcome(outcome: Outcome, most: float) -> None:
    """A table of old and new scores, and the verdict in a sentence."""
    from rich.console import Console
    from rich.text import Text

    from crbench.board.tables import percent, print_notes, terminal_table, text_table
    from crbench.words import arrow, title

    console = Console(highlight=False, soft_wrap=True)
    sensors: dict[str, str] = {
        which: entry.name for which, entry in outcome.record.modalities.items()
    }
    heads = ["metric", "direction", "record", "made again", "points"]
    lines = [
        [
            title(line.metric),
            arrow(line.direction, sensors),
            *map(percent, (line.recorded, line.measured)),
            f"{line.points:.2f}",
        ]
        for line in outcome.compared
    ]
    console.print(terminal_table(text_table("", heads, lines, left=heads[:2])))
    if outcome.same_scores:
        verdict = "Every score is the same number, to the last digit."
    elif outcome.points <= most:
        verdict = f"The scores agree to {outcome.points:.2f} points (tolerance {most:g})."
    else:
        verdict = f"The scores differ by up to {outcome.points:.2f} points (tolerance {most:g})."
    console.print(Text(verdict))
    print_notes(console, outcome.differs())
    console.print(Text(str(outcome.path)))
