"""Launchers: a study's runs on this machine or on a SLURM cluster, a few at a time.

Both start ``python -m crbench.study.job`` once per run and go on when one fails. A launcher is a
function ``(tasks, max_jobs, tell) → {task: exit code}``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crbench.errors import UserError, needs
from crbench.study.shelf import write_failure

_POLL_S = 0.2
_GRACE_S = 120.0  # for a run that was asked to stop to write its checkpoint
# submitit's own are 5 minutes and 3 jobs, after which a run would count as failed
_JOB_MIN, _JOBS = 24 * 60, 100
Tell = Callable[[str, str, int | None], None]  # task name, "start" | "end" | "tick", exit code


def own_process(module: str, *words: str) -> list[str]:
    """The command of a process of ours. ``-P``: what lies in the working directory, which may be
    a stranger's, is no module of Python; PYTHONPATH still names the user's own."""
    return [sys.executable, "-P", "-m", module, *words]


@dataclass(frozen=True)
class RunTask:
    """A run to start: its name for people, its spec and where its output goes."""

    name: str
    spec: dict[str, Any]
    log: Path
    epochs: int = 0  # that it trains

    @property
    def argv(self) -> list[str]:
        """The command of the process."""
        return own_process("crbench.study.job", json.dumps(self.spec))


# starts a run and returns what asks for its exit code, None while it goes on
_Start = Callable[[RunTask], Callable[[], int | None]]


def _launch(
    tasks: Sequence[RunTask], max_jobs: int, tell: Tell, start: _Start, poll_s: float = _POLL_S
) -> dict[str, int]:
    """Start one after the other, at most ``max_jobs`` at once, and wait for all of them."""
    waiting, codes = list(tasks), dict[str, int]()
    running: dict[str, tuple[RunTask, Callable[[], int | None]]] = {}
    while waiting or running:
        while waiting and len(running) < max_jobs:
            task = waiting.pop(0)
            running[task.name] = (task, start(task))
            tell(task.name, "start", None)
        time.sleep(poll_s)
        tell("", "tick", None)
        for name, (task, poll) in list(running.items()):
            if (code := poll()) is not None:
                del running[name]
                codes[name] = code
                note_exit(task, code)
                tell(name, "end", code)
    return codes


def launch_local(tasks: Sequence[RunTask], max_jobs: int, tell: Tell) -> dict[str, int]:
    """As processes of this machine. An interruption asks all of them to save and stop."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(task: RunTask) -> Callable[[], int | None]:
        task.log.parent.mkdir(parents=True, exist_ok=True)
        with open(task.log, "ab") as log:
            # its own session: a Ctrl-C at the terminal reaches it through the study alone, once
            process = subprocess.Popen(task.argv, stdout=log, stderr=log, start_new_session=True)
        processes.append(process)
        return process.poll

    try:
        return _launch(tasks, max_jobs, tell, start)
    except BaseException:
        for process in processes:  # those that have ended are not asked again
            process.terminate()
        deadline = time.monotonic() + _GRACE_S
        for process in processes:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
        raise


def note_exit(task: RunTask, code: int) -> None:
    """Keep why a run ended that could not say so itself: it was killed, or never began."""
    if code in (0, 130) or Path(task.spec["failure"]).is_file():
        return
    why = " (out of memory?)" if code == -9 else ""
    what = f"killed by signal {-code}{why}" if code < 0 else f"ended with exit code {code}"
    write_failure(task.spec["failure"], UserError(what, where=task.log), task.argv)


class ClusterRun:
    """What a cluster job runs: the process, and its exit code.

    submitit calls ``checkpoint`` when the job's time is nearly up or another job takes its place,
    and queues what it returns: the run saves, as on SIGTERM, and goes on in the next job.
    """

    def __init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None

    def __call__(self, argv: list[str]) -> int:
        """Start the process and wait for it."""
        self.process = subprocess.Popen(argv)
        return self.process.wait()

    def checkpoint(self, argv: list[str]) -> Any:
        """Have the process save and end; what is to be queued again."""
        from submitit.helpers import DelayedSubmission

        if self.process is not None:
            self.process.terminate()
            # called by a signal inside of ``wait``, which holds the lock of the process
            os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
        return DelayedSubmission(ClusterRun(), argv)


def launch_slurm(
    tasks: Sequence[RunTask],
    max_jobs: int,
    tell: Tell,
    *,
    options: Mapping[str, str] | None = None,
    cluster: str = "slurm",
) -> dict[str, int]:
    """As jobs of a SLURM cluster, by submitit (extra ``slurm``), at most ``max_jobs`` at once.

    ``options`` are submitit's, e.g. ``timeout_min=240``, ``slurm_partition=gpu``. A run that its
    job has no time for goes on in another one. The study waits for the jobs; when it is stopped
    they run on, and the same command given again later finds what they left.
    """
    with needs("slurm", "the launcher", where="--launcher slurm"):
        import submitit
    folder = Path("runs") / "slurm"
    try:
        limits = {f"{cluster}_max_num_timeout": _JOBS}
        executor = submitit.AutoExecutor(folder=folder, cluster=cluster, **limits)
        parameters = {
            key: int(text) if text.lstrip("-").isdigit() else text
            for key, text in (options or {}).items()
        }
        executor.update_parameters(**{"timeout_min": _JOB_MIN, **parameters})
    except (RuntimeError, TypeError, NameError, ValueError) as error:
        raise UserError(
            f"cannot submit: {error}", where="--launcher slurm", fix="check --slurm KEY=VALUE"
        ) from None

    def start(task: RunTask) -> Callable[[], int | None]:
        try:
            handle = executor.submit(ClusterRun(), task.argv)
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"cannot submit: {error}",
                where="--launcher slurm",
                fix="run it where `sbatch` is at hand, or take --launcher local",
            ) from None
        return lambda: _exit_code(task, handle) if handle.done() else None

    return _launch(tasks, max_jobs, tell, start, 10.0 if cluster == "slurm" else _POLL_S)


def _exit_code(task: RunTask, handle: Any) -> int:
    """The exit code of a cluster job; one that the cluster ended is a failure of its own."""
    try:
        return int(handle.result())
    except Exception as error:
        what = f"the cluster job ended: {type(error).__name__}"
        problem = UserError(what, where=handle.paths.stderr)
        write_failure(task.spec["failure"], problem, task.argv)
        return 1
