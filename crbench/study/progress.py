"""How far runs in processes of their own have come, read from what they log."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from crbench.files import read_json, read_jsonl
from crbench.progress import bar
from crbench.run.folder import RunFolder
from crbench.study.launch import RunTask, Tell


@contextlib.contextmanager
def show_runs(tasks: Sequence[RunTask], quiet: bool) -> Iterator[Tell]:
    """What a launcher tells of ``tasks``, shown on standard error: how many are made, how far those
    are that are going on, and why one failed."""
    if quiet:
        yield lambda name, event, code: None
        return
    going_on: dict[str, RunTask] = {}
    with bar("runs", len(tasks)) as shown:
        shown.note = lambda: "; ".join(map(_standing, going_on.values()))

        def tell(name: str, event: str, code: int | None) -> None:
            if event == "start":
                going_on[name] = next(task for task in tasks if task.name == name)
                shown.say(f"{name}: started")
            elif event == "end":
                task = going_on.pop(name)
                shown.say(f"{name}: failed: {why_failed(task, code)}" if code else f"{name}: done")
            shown.advance(event == "end")

        yield tell


def why_failed(task: RunTask, code: int) -> str:
    """The reason that a run left, or its exit code."""
    problem = Path(task.spec["failure"])
    return str(read_json(problem)["what"]) if problem.is_file() else f"exit code {code}"


def _standing(task: RunTask) -> str:
    """Epochs done, in words: ``CR-JEPA 3/6 epochs, loss 5.731``."""
    if not task.epochs:
        return task.name
    log = RunFolder(Path(task.spec["out"])).metrics
    lines = read_jsonl(log) if log.is_file() else []  # one an epoch
    loss = f", loss {lines[-1]['loss']:.3f}" if lines and "loss" in lines[-1] else ""
    return f"{task.name} {len(lines)}/{task.epochs} epochs{loss}"
