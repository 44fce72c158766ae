"""``crbench ablate``: make the runs of a study that are missing, and find those that are there."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from crbench.cards import load_dataset
from crbench.data.cache.reading import default_path
from crbench.errors import UserError, unknown
from crbench.files import atomic_path, read_jsonl
from crbench.machine import cores
from crbench.run.folder import RunFolder
from crbench.run.opened import open_dataset
from crbench.study import launch
from crbench.study.job import spec
from crbench.study.study import RUNS, Job, Shelf, StudyCard, failure, jobs

KNOWN = Path("results/records")  # where runs that are no study's have their records
LAUNCHERS = ("local", "slurm")
LOOK_S = 1.0  # how often the epochs of the runs are counted


@dataclass(frozen=True)
class State:
    """A run of the study and where it stands: ``there``, ``failed``, ``begun`` or ``to run``."""

    job: Job
    state: str
    said: str = ""


def states(found: Sequence[Job], shelf: Shelf, root: Path = RUNS) -> list[State]:
    """Where every run stands."""
    result = []
    for job in found:
        if path := shelf.path(job):
            result.append(State(job, "there", str(path)))
        elif problem := failure(job, root):
            result.append(State(job, "failed", str(problem["what"])))
        elif RunFolder(job.folder(root)).exists():
            result.append(State(job, "begun", f"{_epochs_done(job, root)} epochs done"))
        else:
            result.append(State(job, "to run"))
    return result


def _epochs_done(job: Job, root: Path) -> int:
    log = RunFolder(job.folder(root)).metrics
    return len(read_jsonl(log)) if log.is_file() else 0


def shelf_of(
    dataset: str, cache: Path | None, out: Path, root: Path = RUNS, *, need_cache: bool = True
) -> tuple[Shelf, Path]:
    """The records at hand for a dataset, and its cache; with the pixels of that cache if needed."""
    card = load_dataset(dataset)
    path = cache or default_path(card)
    digest = None
    if need_cache or path.is_file():
        data = open_dataset(dataset, cache)
        card, digest = data.card, data.digest
    shelf = Shelf(card, card.protocol, digest)
    return shelf.fill([out / "records", KNOWN, root / card.name]), path


def ablate(
    study: StudyCard,
    dataset: str,
    *,
    scale: str | None = None,
    seeds: int = 3,
    overrides: Sequence[str] = (),
    cache: Path | None = None,
    device: str = "auto",
    threads: int | None = None,
    launcher: str = "local",
    max_jobs: int = 1,
    options: dict[str, str] | None = None,
    out: Path,
    root: Path = RUNS,
    quiet: bool = False,
) -> dict[str, int]:
    """Run what is missing and return exit codes by run; a failed run does not stop the others.

    Finished runs leave their record in ``out/records``. A run that failed before is tried again.
    """
    if launcher not in LAUNCHERS:
        raise unknown("launcher", launcher, LAUNCHERS, where="--launcher")
    if max_jobs < 1:
        raise UserError(f"max jobs must be 1 or more, not {max_jobs}", where="--max-jobs")
    found = jobs(study, dataset, scale, seeds, overrides)
    shelf, path = shelf_of(dataset, cache, out, root)
    missing = [item.job for item in states(found, shelf, root) if item.state != "there"]
    each = threads or (max(1, cores() // max_jobs) if launcher == "local" else None)
    tasks = {}
    for job in missing:
        about = spec(
            job,
            cache=path,
            **settled(job, root, device, each),
            root=root,
            parent=launch.parent() if launcher == "local" else None,
        )
        tasks[f"{job.row}, seed {job.seed}"] = (
            job,
            launch.Task(f"{job.row}, seed {job.seed}", about, job.aside("logs", root)),
        )
    if not quiet:
        there = len(found) - len(missing)
        print(
            f"{study.name}: {len(found)} runs, {there} there, {len(missing)} to run",
            file=sys.stderr,
        )
    run = launch.local
    if launcher == "slurm":
        run = partial(launch.slurm, options=options)
    with _bars(tasks, quiet, root) as tell:
        codes = run([task for _, task in tasks.values()], max_jobs, tell)
    shelf, _ = shelf_of(dataset, cache, out, root)
    for job in found:  # those of runs that an earlier, interrupted study finished as well
        record, place = shelf.path(job), out / "records" / job.record_name
        if not record or not record.is_relative_to(root):
            continue
        if not place.is_file() or place.read_bytes() != record.read_bytes():
            with atomic_path(place) as temporary:
                shutil.copyfile(record, temporary)
    return codes


def settled(job: Job, root: Path, device: str, threads: int | None) -> dict[str, Any]:
    """Device and threads of a run: those it was begun with, since it can only go on with them."""
    run = RunFolder(job.folder(root))
    if not run.exists():
        return {"device": device, "threads": threads}
    begun = run.read()
    return {"device": "cpu" if begun.device == "cpu" else device, "threads": begun.threads}


class _bars:
    """A bar of all runs and one line per run that is going on, with the epochs it has done."""

    def __init__(self, tasks: dict[str, tuple[Job, launch.Task]], quiet: bool, root: Path) -> None:
        self.tasks, self.root, self.shown = tasks, root, dict[str, Any]()
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            TextColumn("{task.completed:.0f}/{task.total:.0f} {task.fields[unit]}"),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[left]}[/]"),
            console=Console(stderr=True),
            disable=quiet,
            get_time=time.monotonic,
        )

    def __enter__(self) -> launch.Tell:
        self.progress.start()
        self.all = self.progress.add_task("runs", total=len(self.tasks), unit="runs", left="")
        self.began, self.looked, self.ended = time.monotonic(), 0.0, 0
        return self.tell

    def tell(self, name: str, event: str, code: int | None) -> None:
        """Show that a run has started or ended, or look how far all have come."""
        if event == "tick":
            if not self.progress.disable and time.monotonic() - self.looked > LOOK_S:
                self.looked = time.monotonic()
                for other, task in self.shown.items():
                    self.progress.update(
                        task, completed=_epochs_done(self.tasks[other][0], self.root)
                    )
            return
        job, _ = self.tasks[name]
        if event == "start":
            total = max(1, job.card.train.epochs)
            self.shown[name] = self.progress.add_task(
                f"  {name}", total=total, unit="epochs", left=""
            )
            return
        self.progress.remove_task(self.shown.pop(name))
        self.ended += 1
        rest = (time.monotonic() - self.began) / self.ended * (len(self.tasks) - self.ended)
        self.progress.update(self.all, advance=1, left=f"about {rest / 60:.0f} min left")
        if code and not self.progress.disable:
            problem = failure(job, self.root)
            said = problem["what"] if problem else f"exit code {code}"
            self.progress.console.print(f"failed: {name}: {said}", highlight=False, soft_wrap=True)

    def __exit__(self, *_: object) -> None:
        self.progress.stop()
