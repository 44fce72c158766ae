"""``crbench demo``, ``list`` and ``doctor``: a first board, the cards, what a machine offers."""

from __future__ import annotations

import enum
import os
import platform
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from crbench.cli import options as opt


def demo_command(
    out: Path = typer.Option(Path("runs/demo"), help="Folder of the demo's runs, board and grids."),
    seed: opt.Seed = 0,
    pairs: int | None = typer.Option(None, min=64, help="Image pairs instead of the demo's."),
    epochs: opt.Epochs = None,
    quiet: opt.Quiet = False,
) -> None:
    """Train and compare three methods on a small synthetic twin: a board in a few minutes."""
    from crbench.site.demo import finish_demo
    from crbench.study.demo import run_demo

    finish_demo(run_demo(out, seed=seed, pairs=pairs, epochs=epochs, quiet=quiet))


_CardKind = enum.StrEnum("_CardKind", ["methods", "datasets"])


def list_command(
    kind: _CardKind | None = typer.Argument(None, help="methods or datasets; both by default."),
    as_json: opt.AsJson = False,
) -> None:
    """List the method and dataset cards that ship with the project."""
    from crbench import cards

    load: dict[str, Callable[[str], Any]] = {
        "methods": cards.load_method,
        "datasets": cards.load_dataset,
    }
    listed = {
        folder: [_brief(load[folder](name)) for name in cards.names(folder)]
        for folder in ([kind.value] if kind else load)
    }
    if as_json:
        opt.print_json(listed)
        return
    from rich.console import Console

    from crbench.board.tables import terminal_table, text_table

    for title, rows in listed.items():
        heads = list(rows[0])
        table = text_table(title, heads, (list(row.values()) for row in rows), left=heads)
        Console().print(terminal_table(table, title))


def _brief(card: Any) -> dict[str, str]:
    kind = getattr(card, "kind", None) or ("synthetic" if card.synthetic else card.note or "real")
    return {"name": card.name, "kind": kind, "summary": card.summary}


def _python() -> str:
    return f"{platform.python_version()} ({platform.system()} {platform.machine()})"


def _torch() -> str:
    import torch

    return torch.__version__


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return "cuda: " + ", ".join(names)
    if torch.backends.mps.is_available():
        return "mps"
    return "cpu"


def _faiss() -> str:
    try:
        import faiss
    except ImportError as error:
        return f"missing ({error}): scoring is exact without it"
    return f"{faiss.__version__}, {faiss.get_num_gpus()} GPU(s)"


def _threads() -> str:
    import torch

    from crbench.machine import cores

    limit = os.environ.get("OMP_NUM_THREADS")
    note = f", OMP_NUM_THREADS={limit}" if limit else ""
    return f"{torch.get_num_threads()} of {cores()} usable cores{note}"


def _caches() -> str:
    folder = Path(os.environ.get("CRBENCH_CACHES", "caches"))
    caches = sorted(folder.glob("*.h5"))
    partial = sorted(folder.glob("*.part"))
    listed = ", ".join(f"{p.name} ({p.stat().st_size / 1e6:.0f} MB)" for p in caches) or "none"
    unfinished = f"; unfinished: {', '.join(p.name for p in partial)}" if partial else ""
    return f"{folder}: {listed}{unfinished}"


def _disk() -> str:
    usage = shutil.disk_usage(Path.cwd())
    return f"{usage.free / 1e9:.1f} GB free of {usage.total / 1e9:.1f} GB here"


_CHECKS: dict[str, Callable[[], str]] = {
    "python": _python,
    "torch": _torch,
    "device": _device,
    "faiss": _faiss,
    "threads": _threads,
    "caches": _caches,
    "disk": _disk,
}


def machine_answers() -> dict[str, str]:
    """Every check's one-line answer; a check that fails says so and stops no other."""
    answers = {}
    for name, check in _CHECKS.items():
        try:
            answers[name] = check()
        except Exception as error:  # a broken library is a finding, not a crash
            answers[name] = f"broken: {type(error).__name__}: {error}"
    return answers


def doctor_command(as_json: opt.AsJson = False) -> None:
    """Say what this machine offers: Python, torch, device, FAISS, threads, caches, disk."""
    answers = machine_answers()
    if as_json:
        opt.print_json(answers)
    else:
        for name, answer in answers.items():
            print(f"{name:<8} {answer}")
    if any(answer.startswith("broken") for answer in answers.values()):
        print("fix: install crbench's dependencies again in a fresh environment", file=sys.stderr)
        raise typer.Exit(1)
