"""``crbench demo``: from nothing to a measured board on a small synthetic twin.

Leaves ``<out>/ben-14k-twin-2.h5`` and one run folder a method, each with its record; a demo that
was interrupted goes on where it stopped. Runs are made side by side with one thread each, as the
committed records of the twin were, so that the board shows their numbers to the last digit.
"""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console

from crbench.cards import load_dataset, load_method
from crbench.data.cache.build import build_cache
from crbench.data.cache.reading import open_cache
from crbench.errors import UserError
from crbench.machine import cores
from crbench.run.folder import RunFolder
from crbench.study.ablate import settled
from crbench.study.cards import Job
from crbench.study.job import job_spec
from crbench.study.launch import RunTask, launch_local
from crbench.study.progress import show_runs, why_failed

_DATASET = "ben-14k-twin-2"
_METHODS = ("rejepa", "cr-jepa", "x-jepa")  # the longest training first
_FLOORS = ("random", "band-stats", "cca", "ridge-cca")
_SIDE_BY_SIDE = 2


def run_demo(
    out: str | Path = "runs/demo",
    *,
    seed: int = 0,
    pairs: int | None = None,
    epochs: int | None = None,
    quiet: bool = False,
) -> Path:
    """Build the twin, train the three methods and the floors at ``tiny``, evaluate, return ``out``.

    ``pairs`` scales the twin to that many pairs in all; ``epochs`` replaces every method's own.
    """
    folder = Path(out)
    console = Console(stderr=True, quiet=quiet, highlight=False)
    cache = folder / f"{_DATASET}.h5"
    console.print(f"[bold]1/2[/] synthetic twin of BEN-14K → {cache}")
    card = load_dataset(_DATASET, overrides=_fewer(pairs))
    if not cache.is_file():
        build_cache(card, cache, quiet=quiet)
    elif open_cache(cache).card.content != card.content:
        raise UserError(
            "this demo was made with other settings", where=folder, fix="choose another --out"
        )
    jobs = min(_SIDE_BY_SIDE, cores())
    console.print(f"[bold]2/2[/] training and retrieval at scale tiny, {jobs} at a time")
    tasks = [
        _task(folder, name, cache, seed, epochs if name in _METHODS else None)
        for name in (*_METHODS, *_FLOORS)
        if not RunFolder(folder / name).record.is_file()
    ]
    with show_runs(tasks, quiet) as tell:
        codes = launch_local(tasks, jobs, tell)
    for task in tasks:
        if code := codes[task.name]:
            raise UserError(
                f"{task.name}: {why_failed(task, code)}",
                where=task.log,
                fix="run the same command again: it goes on where it stopped",
            )
    return folder


def _task(folder: Path, name: str, cache: Path, seed: int, epochs: int | None) -> RunTask:
    """The training and scoring of one method into ``folder / name``."""
    sets = () if epochs is None else (f"train.epochs={epochs}",)
    card = load_method(name, scale="tiny", overrides=sets)
    job = Job(card.title, name, "tiny", sets, card, _DATASET, _DATASET, seed)
    spec = job_spec(job, cache=cache, **settled(folder / name, "auto", 1), parent=os.getpid())
    log = folder / "logs" / name
    spec |= {"out": str(folder / name), "failure": str(log.with_suffix(".failed"))}
    return RunTask(card.title, spec, log.with_suffix(".log"), card.train.epochs)


def _fewer(pairs: int | None) -> list[str]:
    """Overrides that scale every split of the twin, so that ``pairs`` remain in all."""
    if pairs is None:
        return []
    splits = load_dataset(_DATASET).source["splits"]
    total = sum(splits.values())
    return [f"source.splits.{name}={max(8, n * pairs // total)}" for name, n in splits.items()]
