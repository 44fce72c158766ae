"""A run that is evaluated, and its page served by the command itself in a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from crbench.archive.search import Search, open_search

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).parent))  # makes asking.py importable

# What Python itself opens for writing, makes, moves or removes, one path a line.
LAUNCH = """
import os, sys
log = open(sys.argv.pop(1), "a", buffering=1)
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.link", "os.symlink", "os.truncate")
def seen(event, args):
    opened = event == "open" and isinstance(args[0], (str, bytes)) and (args[2] or 0) & WRITING
    if opened or event in CHANGES:
        log.write(os.fsdecode(args[0]) + "\\n")
sys.addaudithook(seen)
from crbench.cli import main
main()
"""


@dataclass(frozen=True)
class Served:
    """The page's address, the run, what the process wrote so far, and its folder for such files."""

    url: str
    run: Path
    log: Path
    temporary: Path
    process: subprocess.Popen[str]

    @property
    def port(self) -> int:
        return int(self.url.rstrip("/").rpartition(":")[2])


@pytest.fixture(scope="session")
def evaluated(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the trained run, evaluated."""
    from crbench.evaluation.evaluate import evaluate

    run = Path(shutil.copytree(trained_run, tmp_path_factory.mktemp("served") / "run"))
    evaluate(run, quiet=True)
    return run


@pytest.fixture(scope="session")
def search(evaluated: Path) -> Search:
    """The same run, asked in this process."""
    return open_search(evaluated, device="cpu", quiet=True)


@pytest.fixture(scope="session")
def served(evaluated: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    process = start(evaluated, tmp_path_factory.mktemp("process"))
    yield process
    assert_ends(process.process)


def start(evaluated: Path, base: Path, *, ignore: bool = False) -> Served:
    """Serve a run by the command; ``ignore``: with SIGINT ignored, as by ``nohup``."""
    (base / "tmp").mkdir()
    (base / "here").mkdir()
    env = os.environ | {"TMPDIR": str(base / "tmp"), "PYTHONDONTWRITEBYTECODE": "1"}
    env["PYTHONPATH"] = str(ROOT)
    words = ["serve", str(evaluated), "--port", "0", "--device", "cpu"]
    process = subprocess.Popen(
        [sys.executable, "-c", LAUNCH, str(base / "log"), *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env, cwd=base / "here",
        preexec_fn=(lambda: signal.signal(signal.SIGINT, signal.SIG_IGN)) if ignore else None,
    )  # fmt: skip
    assert process.stdout is not None
    url = process.stdout.readline().strip()
    if not url.startswith("http://"):
        process.kill()
        pytest.fail(f"no page: {process.communicate()[1]}")
    return Served(url, evaluated, base / "log", base / "tmp", process)


def assert_ends(process: subprocess.Popen[str]) -> None:
    """SIGINT ends it with its last words alone: no log line, no traceback."""
    process.send_signal(signal.SIGINT)
    out, errors = process.communicate(timeout=120)  # unloading torch takes long under load
    assert process.returncode == 0 and out == ""
    assert errors == "Ctrl-C ends it\n\nended; nothing was kept\n"


@pytest.fixture
def served_ignoring_interrupts(evaluated: Path, tmp_path: Path) -> Iterator[Served]:
    """The same page, started by a parent that ignores SIGINT."""
    process = start(evaluated, tmp_path, ignore=True)
    yield process
    assert_ends(process.process)
