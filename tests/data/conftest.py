"""A build that is killed on its way, for the tests of caches and of their sources."""

import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from crbench.files import read_jsonl


@pytest.fixture(scope="session")
def kill_build() -> Callable[["subprocess.Popen[str]", Path, int], int]:
    """Kills the process that builds a cache at a path once it has kept that many blocks, and
    counts those that it kept."""
    return _kill_build


def _kill_build(process: "subprocess.Popen[str]", out: Path, blocks: int) -> int:
    log = out.with_name(f"{out.name}.part.log")
    deadline = time.monotonic() + 60
    while not (log.is_file() and len(read_jsonl(log)) > blocks) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    return len(read_jsonl(log)) - 1
