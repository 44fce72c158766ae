"""How far runs in processes of their own have come, read from what they log."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from crbench.files import read_json, read_jsonl
from crbench.run.folder import RunFolder
from crbench.study.launch import RunTask, Tell

_LOOK_S = 1.0  # how often the epochs of the runs are counted
_LINE_S = 5.0  # how often they are said where there is no terminal to draw on


def epochs_done(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's log so far, one an epoch."""
    log = RunFolder(run).metrics
    return read_jsonl(log) if log.is_file() else []


@contextlib.contextmanager
def show_runs(tasks: Sequence[RunTask], quiet: bool) -> Iterator[Tell]:
    """What a launcher tells of ``tasks``, shown on standard error: a bar a run on a terminal, else
    lines. A run that fails is said with its reason."""
    by_name = {task.name: task for task in tasks}
    if quiet:
        yield lambda name, event, code: None
    elif Console(stderr=True).is_terminal:
        with _bars(by_name) as tell:
            yield tell
    else:
        yield _lines(by_name)


def why_failed(task: RunTask, code: int) -> str:
    """The reason that a run left, or its exit code."""
    problem = Path(task.spec["failure"])
    return str(read_json(problem)["what"]) if problem.is_file() else f"exit code {code}"


def _standing(task: RunTask) -> tuple[int, str]:
    """Epochs done, and in words: ``3/6 epochs, loss 5.731``."""
    log = epochs_done(Path(task.spec["out"]))
    loss = f", loss {log[-1]['loss']:.3f}" if log and "loss" in log[-1] else ""
    return len(log), f"{len(log)}/{task.epochs} epochs{loss}"


def _lines(tasks: dict[str, RunTask]) -> Tell:
    said: dict[str, str] = {}  # by the runs that are going on
    due = time.monotonic() + _LINE_S

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    def tell(name: str, event: str, code: int | None) -> None:
        nonlocal due
        if event == "start":
            said[name] = ""
            say(f"{name}: started")
        elif event == "end":
            del said[name]
            ended = f"failed: {why_failed(tasks[name], code)}" if code else "done"
            say(f"{name}: {ended}")
        elif time.monotonic() >= due:
            due = time.monotonic() + _LINE_S
            for running, before in said.items():
                _, standing = _standing(tasks[running])
                if tasks[running].epochs and standing != before:
                    said[running] = standing
                    say(f"{running}: {standing}")

    return tell


@contextlib.contextmanager
def _bars(tasks: dict[str, RunTask]) -> Iterator[Tell]:
    """A bar of all runs, and one for each that is going on, with the epochs that it has done."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:.0f}/{task.total:.0f} {task.fields[unit]}"),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[note]}[/]"),
    )
    bars: dict[str, Any] = {}
    began, looked, ended = time.monotonic(), 0.0, 0
    with Progress(*columns, console=Console(stderr=True), get_time=time.monotonic) as progress:
        whole = progress.add_task("runs", total=len(tasks), unit="runs", note="")

        def tell(name: str, event: str, code: int | None) -> None:
            nonlocal looked, ended
            if event == "start":
                total = max(1, tasks[name].epochs)
                bars[name] = progress.add_task(f"  {name}", total=total, unit="epochs", note="")
            elif event == "end":
                progress.remove_task(bars.pop(name))
                ended += 1
                rest = (time.monotonic() - began) / ended * (len(tasks) - ended)
                progress.update(whole, advance=1, note=f"about {rest / 60:.0f} min left")
                if code:
                    text = f"failed: {name}: {why_failed(tasks[name], code)}"
                    progress.console.print(text, highlight=False, soft_wrap=True)
            elif time.monotonic() - looked > _LOOK_S:
                looked = time.monotonic()
                for running, bar in bars.items():
                    done, standing = _standing(tasks[running])
                    loss = standing.partition(", ")[2]
                    progress.update(bar, completed=done, note=loss)

        yield tell
