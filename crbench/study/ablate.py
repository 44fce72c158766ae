"""``crbench ablate``: make the runs of a study that are missing, and find those that are there."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from crbench.cards import load_dataset
from crbench.data.cache.reading import default_path
from crbench.errors import UserError, unknown
from crbench.files import atomic_path
from crbench.machine import cores
from crbench.run.folder import RunFolder
from crbench.run.opened import open_dataset
from crbench.study.cards import RUNS, Job, StudyCard, study_jobs
from crbench.study.job import job_spec
from crbench.study.launch import RunTask, launch_local, launch_slurm
from crbench.study.progress import epochs_done, show_runs
from crbench.study.shelf import Shelf, last_failure

_KNOWN = Path("results/records")  # where runs that are no study's have their records
_LAUNCHERS = ("local", "slurm")


@dataclass(frozen=True)
class RunState:
    """A run of the study and where it stands: ``there``, ``failed``, ``begun`` or ``to run``."""

    job: Job
    state: str
    note: str = ""


def run_states(jobs: Sequence[Job], shelf: Shelf, root: Path = RUNS) -> list[RunState]:
    """Where every run stands."""
    result = []
    for job in jobs:
        if path := shelf.path(job):
            result.append(RunState(job, "there", str(path)))
        elif problem := last_failure(job, root):
            result.append(RunState(job, "failed", str(problem["what"])))
        elif RunFolder(folder := job.folder(root)).exists():
            result.append(RunState(job, "begun", f"{len(epochs_done(folder))} epochs done"))
        else:
            result.append(RunState(job, "to run"))
    return result


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
    return shelf.fill([out / "records", _KNOWN, root / card.name]), path


def run_study(
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
    if launcher not in _LAUNCHERS:
        raise unknown("launcher", launcher, _LAUNCHERS, where="--launcher")
    if max_jobs < 1:
        raise UserError(f"max jobs must be 1 or more, not {max_jobs}", where="--max-jobs")
    jobs = study_jobs(study, dataset, scale, seeds, overrides)
    shelf, path = shelf_of(dataset, cache, out, root)
    missing = [item.job for item in run_states(jobs, shelf, root) if item.state != "there"]
    each = threads or (max(1, cores() // max_jobs) if launcher == "local" else None)
    tasks = []
    for job in missing:
        about = job_spec(
            job,
            cache=path,
            **settled(job.folder(root), device, each),
            root=root,
            parent=os.getpid() if launcher == "local" else None,
        )
        name = f"{job.row}, seed {job.seed}"
        tasks.append(RunTask(name, about, job.aside("logs", root), job.card.train.epochs))
    if not quiet:
        there = len(jobs) - len(missing)
        print(
            f"{study.name}: {len(jobs)} runs, {there} there, {len(missing)} to run",
            file=sys.stderr,
        )
    launch = launch_local if launcher == "local" else partial(launch_slurm, options=options)
    with show_runs(tasks, quiet) as tell:
        codes = launch(tasks, max_jobs, tell)
    shelf, _ = shelf_of(dataset, cache, out, root)
    for job in jobs:  # those of runs that an earlier, interrupted study finished as well
        record, target = shelf.path(job), out / "records" / job.record_name
        if not record or not record.is_relative_to(root):
            continue
        if not target.is_file() or target.read_bytes() != record.read_bytes():
            with atomic_path(target) as temporary:
                shutil.copyfile(record, temporary)
    return codes


def settled(folder: Path, device: str, threads: int | None) -> dict[str, Any]:
    """Device and threads of a run: those it was begun with, since it can only go on with them."""
    run = RunFolder(folder)
    if not run.exists():
        return {"device": device, "threads": threads}
    begun = run.read()
    return {"device": "cpu" if begun.device == "cpu" else device, "threads": begun.threads}
