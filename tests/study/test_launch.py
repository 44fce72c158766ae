"""Launchers: processes of this machine or jobs of a cluster, a few at a time."""

from __future__ import annotations

import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from crbench.errors import UserError
from crbench.files import read_json
from crbench.records import read_record
from crbench.study.launch import (
    ClusterRun,
    RunTask,
    launch_local,
    launch_slurm,
    note_exit,
)

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Script(RunTask):
    """A task whose process is a line of Python."""

    code: str = ""

    @property
    def argv(self) -> list[str]:
        return [sys.executable, "-c", self.code]


def scripts(folder: Path, *codes: str) -> list[Script]:
    return [
        Script(
            f"{n}", {"failure": str(folder / f"{n}.json")}, folder / "logs" / f"{n}.log", code=code
        )
        for n, code in enumerate(codes)
    ]


def test_local_runs_go_on_where_one_fails_and_never_too_many_at_once(tmp_path: Path) -> None:
    """Each takes its turn: at most two are between their start and their end."""
    quick = "print('done')"
    tasks = scripts(
        tmp_path, quick, "import sys; sys.exit(3)", quick, "import os; os.kill(os.getpid(), 9)"
    )
    running, most = set[str](), 0

    def tell(name: str, event: str, code: int | None) -> None:
        nonlocal most
        if event == "start":
            running.add(name)
        elif event == "end":
            running.remove(name)
        most = max(most, len(running))

    assert launch_local(tasks, 2, tell) == {"0": 0, "1": 3, "2": 0, "3": -9}
    assert most == 2 and not running
    assert tasks[0].log.read_text() == "done\n"
    assert read_json(tmp_path / "1.json")["what"] == "ended with exit code 3"
    assert read_json(tmp_path / "3.json")["what"] == "killed by signal 9 (out of memory?)"
    assert not (tmp_path / "0.json").exists()


def test_an_interruption_asks_the_runs_to_save_and_waits_for_them(tmp_path: Path) -> None:
    code = f"""
import pathlib, signal, sys, time
def save(*_):
    time.sleep(0.2)
    pathlib.Path({str(tmp_path)!r}, "saved").touch()
    sys.exit(130)
signal.signal(signal.SIGTERM, save)
pathlib.Path({str(tmp_path)!r}, "ready").touch()
time.sleep(60)
"""

    def tell(name: str, event: str, code: int | None) -> None:
        if event == "tick" and (tmp_path / "ready").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        launch_local(scripts(tmp_path, code), 1, tell)
    assert (tmp_path / "saved").exists() and not (tmp_path / "0.json").exists()


@pytest.mark.soak
def test_a_cluster_launcher_runs_tasks_and_reports_their_codes(
    twin_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through submitit's executor for this machine: a run that is made, and one that fails."""
    monkeypatch.chdir(tmp_path)
    told: list[tuple[str, str, int | None]] = []
    tasks = []
    for seed, scale in ((0, "tiny"), (1, "no-such-scale")):
        about = {
            "method": "band-stats", "scale": scale, "overrides": [], "dataset": "ben-14k-twin",
            "seed": seed, "out": f"run{seed}", "failure": f"failures/{seed}.json",
            "cache": str(twin_cache), "device": "cpu", "threads": 1, "parent": None,
        }  # fmt: skip
        tasks.append(RunTask(f"task {seed}", about, tmp_path / f"{seed}.log"))
    codes = launch_slurm(tasks, 2, lambda *event: told.append(event), cluster="local")
    assert codes == {"task 0": 0, "task 1": 2}
    assert {event for event in told if event[0]} == {
        *((name, "start", None) for name in codes),
        *((name, "end", code) for name, code in codes.items()),
    }
    assert read_record(tmp_path / "run0" / "record.json").method.name == "band-stats"
    assert not (tmp_path / "failures" / "0.json").exists()
    assert "unknown scale" in read_json(tmp_path / "failures" / "1.json")["what"]


def test_a_run_goes_on_in_another_job_when_the_time_of_one_is_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal that submitit has SLURM send: the process saves, and is queued and made again."""
    submitit = pytest.importorskip("submitit")
    monkeypatch.chdir(tmp_path)
    code = """
import os, pathlib, signal, sys, time
saved = pathlib.Path("saved")
if saved.exists():
    sys.exit(7)
def save(*_):
    saved.touch()
    sys.exit(130)
signal.signal(signal.SIGTERM, save)
pathlib.Path("new").write_text(str(os.getppid()))
os.replace("new", "job")
time.sleep(60)
"""
    executor = submitit.AutoExecutor(folder=tmp_path / "jobs", cluster="local")
    handle = executor.submit(ClusterRun(), [sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while not (tmp_path / "job").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(int((tmp_path / "job").read_text()), signal.SIGUSR2)
    assert handle.result() == 7
    assert (tmp_path / "saved").exists()


def test_a_cluster_job_asks_for_more_than_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is handed to ``sbatch``, by a program of that name."""
    monkeypatch.chdir(tmp_path)
    for name in ("srun", "sbatch"):
        (tmp_path / name).write_text('#!/bin/sh\ncp "$1" script\nexit 1\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    task = RunTask("one", {"failure": "f.json"}, tmp_path / "log")
    for options, wanted in (({}, "--time=1440"), ({"timeout_min": "240"}, "--time=240")):
        with pytest.raises(UserError, match="cannot submit"):
            launch_slurm([task], 1, lambda *_: None, options=options)
        assert f"{wanted}\n" in (tmp_path / "script").read_text()


def test_a_cluster_that_is_not_there_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    task = RunTask("one", {"failure": "f.json"}, tmp_path / "log")
    with pytest.raises(UserError, match="cannot submit"):
        launch_slurm([task], 1, lambda *_: None)


def test_a_run_that_could_not_say_why_it_ended_is_a_failure_all_the_same(tmp_path: Path) -> None:
    failed = tmp_path / "failure.json"
    task = RunTask("one", {"failure": str(failed)}, tmp_path / "log")
    for code in (0, 130):  # made, or asked to stop
        note_exit(task, code)
        assert not failed.is_file()
    for code, said in ((-9, "killed by signal 9 (out of memory?)"), (3, "ended with exit code 3")):
        note_exit(task, code)
        assert read_json(failed)["what"] == said
        failed.unlink()
