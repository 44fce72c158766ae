"""``crbench ablate``: make the runs of a study that are missing."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from crbench.cards import load_dataset
from crbench.data.cache.reading import Cache, default_path
from crbench.files import atomic_path
from crbench.machine import cores
from crbench.run.folder import RunFolder
from crbench.run.opened import open_dataset
from crbench.study.cards import RUNS, Job, StudyCard, study_jobs
from crbench.study.job import job_spec
from crbench.study.launch import RunTask, launch_local, launch_slurm
from crbench.study.progress import show_runs
from crbench.study.shelf import Shelf

_KNOWN = Path("results/records")  # where runs that are no study's have their records


@dataclass(frozen=True)
class StudySettings:
    """A study as a user asks for it.

    ``dataset`` is the name or path of its card, ``seeds`` the trainings of each row, ``scale`` and
    ``overrides`` are laid over the rows. At most ``max_jobs`` runs are made at once, by
    ``launcher``, with ``threads`` each; ``options`` are those of the cluster. Records of what is
    made are copied to ``out``.
    """

    study: StudyCard
    dataset: str
    out: Path
    scale: str | None = None
    seeds: int = 3
    overrides: tuple[str, ...] = ()
    cache: Path | None = None
    device: str = "auto"
    threads: int | None = None
    launcher: str = "local"
    max_jobs: int = 1
    options: dict[str, str] = field(default_factory=dict)
    quiet: bool = False
    root: Path = RUNS

    @property
    def jobs(self) -> list[Job]:
        """The distinct runs of the study."""
        return study_jobs(self.study, self.dataset, self.scale, self.seeds, self.overrides)

    @property
    def threads_each(self) -> int:
        """CPU threads of each run on this machine."""
        return self.threads or max(1, cores() // self.max_jobs)


def cache_at_hand(settings: StudySettings) -> Cache | None:
    """The cache of a study's dataset where there is one."""
    path = settings.cache or default_path(load_dataset(settings.dataset))
    return open_dataset(settings.dataset, settings.cache) if path.is_file() else None


def shelf_of(settings: StudySettings, data: Cache | None) -> Shelf:
    """The records at hand for a study's dataset, of the pixels of its cache if there is one."""
    card = data.card if data else load_dataset(settings.dataset)
    shelf = Shelf(card, cache_digest=data.digest if data else None)
    return shelf.fill([settings.out / "records", _KNOWN, settings.root / card.name])


def run_study(settings: StudySettings) -> dict[str, int]:
    """Run what is missing and return exit codes by run; a failed run does not stop the others.

    Finished runs leave their record in ``out/records``. A run that failed before is tried again.
    """
    jobs, root = settings.jobs, settings.root
    data = open_dataset(settings.dataset, settings.cache)
    shelf = shelf_of(settings, data)
    codes = launch(settings, [job for job in jobs if shelf.path(job) is None], data)
    shelf = shelf_of(settings, data)
    for job in jobs:  # those of runs that an earlier, interrupted study finished as well
        record, target = shelf.path(job), settings.out / "records" / job.record_name
        if not record or not record.is_relative_to(root):
            continue
        if not target.is_file() or target.read_bytes() != record.read_bytes():
            with atomic_path(target) as temporary:
                shutil.copyfile(record, temporary)
    return codes


def launch(
    settings: StudySettings, missing: Sequence[Job], data: Cache, *, judge: bool = False
) -> dict[str, int]:
    """Start the ``missing`` runs of a study and return exit codes by run. With ``judge`` they
    are scored on ``val`` alone, at the end of their training."""
    root, local = settings.root, settings.launcher == "local"
    threads = settings.threads_each if local else settings.threads
    tasks = []
    for job in missing:
        about = job_spec(
            job,
            cache=data.path,
            **settled(job.folder(root), settings.device, threads),
            root=root,
            parent=os.getpid() if local else None,
            judge=judge,
        )
        name = f"{job.row}, seed {job.seed}"
        tasks.append(RunTask(name, about, job.aside("logs", root), job.card.train.epochs))
    if not settings.quiet:
        total = len(settings.jobs)
        counts = f"{total - len(missing)} there, {len(missing)} to run"
        print(f"{settings.study.name}: {total} runs, {counts}", file=sys.stderr)
    start = launch_local if local else partial(launch_slurm, options=settings.options)
    with show_runs(tasks, settings.quiet) as tell:
        return start(tasks, settings.max_jobs, tell)


def settled(folder: Path, device: str, threads: int | None) -> dict[str, Any]:
    """Device and threads of a run: those it was begun with, since it can only go on with them."""
    run = RunFolder(folder)
    if not run.exists():
        return {"device": device, "threads": threads}
    begun = run.read()
    return {"device": "cpu" if begun.device == "cpu" else device, "threads": begun.threads}
