"""One run in a process of its own: its command, and what is kept of one that fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crbench.errors import UserError
from crbench.files import HELD, read_json, write_json
from crbench.study import job as module
from crbench.study.cards import Job
from crbench.study.job import job_command, job_spec, run_job

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def spec(
    a_job: Callable[..., Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """Of a run below ``tmp_path`` whose command stands in this process's own."""
    monkeypatch.setattr(sys, "argv", ["pytest"])
    return job_spec(a_job("loss.sig=0.021"), cache=tmp_path / "c.h5", threads=2, root=tmp_path)


def test_a_spec_is_plain_data_and_its_command_a_users(spec: dict[str, Any], tmp_path: Path) -> None:
    assert json.loads(json.dumps(spec)) == spec
    assert Path(spec["out"]).is_relative_to(tmp_path / "ben-14k-twin")
    words = ["--scale", "tiny", "--set", "loss.sig=0.021", "--seed", "0", "--threads", "2"]
    assert job_command(spec) == ["crbench", "train", "cr-jepa", "ben-14k-twin", *words]


def test_bad_input_and_a_bug_are_kept_apart(
    spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    failed = Path(spec["failure"])
    assert run_job(json.dumps(spec)) == 2  # the cache is not there
    problem = read_json(failed)
    assert "no such cache" in problem["what"] and problem["where"] == spec["cache"]
    assert problem["command"] == job_command(spec) and problem["fix"]
    assert "error: no such cache" in capsys.readouterr().err

    def broken(job: dict[str, Any]) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(module, "make_run", broken)
    assert run_job(json.dumps(spec)) == 1
    problem = read_json(failed)
    assert problem["what"] == "ZeroDivisionError: by zero" and problem["where"] == spec["out"]
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("raised", "code"), [(None, 0), (KeyboardInterrupt(), 130), (UserError(HELD), 130)]
)
def test_a_run_that_is_made_or_goes_on_elsewhere_has_not_failed(
    spec: dict[str, Any], monkeypatch: pytest.MonkeyPatch, raised: BaseException | None, code: int
) -> None:
    write_json(spec["failure"], {"what": "an earlier try"})

    def make(job: dict[str, Any]) -> None:
        if raised is not None:
            raise raised

    monkeypatch.setattr(module, "make_run", make)
    assert run_job(json.dumps(spec)) == code
    assert not Path(spec["failure"]).exists()


@pytest.mark.skipif(sys.platform != "linux", reason="the system's request is Linux's")
def test_a_run_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    """The parent is killed, so that it can tell nobody; its child is asked to stop all the same."""
    child = (
        "import os, pathlib, signal, sys, time; from crbench.study.job import _end_with\n"
        "def stop(*_): pathlib.Path('stopped').touch(); sys.exit(130)\n"
        "signal.signal(signal.SIGTERM, stop); _end_with(int(sys.argv[1]))\n"
        "pathlib.Path('ready').touch(); time.sleep(60)"
    )
    parent = (
        "import os, subprocess, sys\n"
        f"subprocess.Popen([sys.executable, '-c', {child!r}, str(os.getpid())]).wait()"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, "-c", parent], cwd=tmp_path, env=environment)

    def appears(name: str) -> bool:
        deadline = time.monotonic() + 60
        while not (tmp_path / name).exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        return (tmp_path / name).exists()

    assert appears("ready")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert appears("stopped")
