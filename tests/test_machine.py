"""Where a number was made: what is there is stated, what is not is left out."""

from __future__ import annotations

import datetime
import os
import platform
import re
import sys
from pathlib import Path

import pytest

from crbench import __version__, machine


def test_versions_are_those_of_what_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "PACKAGES", ("numpy", "no-such-package-at-all", "pytest"))
    assert machine.versions() == {
        "python": platform.python_version(),
        "numpy": sys.modules["numpy"].__version__,
        "pytest": pytest.__version__,
    }


def test_the_versions_of_the_benchmark_itself() -> None:
    assert machine.versions()["crbench"] == __version__


def test_cores_are_those_that_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 3, 5}, raising=False)
    assert machine.cores() == machine.hardware()["cores"] == 3
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    assert machine.cores() == 8
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert machine.cores() == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("processor\t: 0\nmodel name\t: Fast 9000: X\nmodel name\t: Slow\n", "Fast 9000: X"),
        ("processor\t: 0\n", "generic"),  # as on ARM
        (None, "generic"),
    ],
)
def test_the_processor_is_named(
    text: str | None, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if text is not None:
        (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(machine, "Path", lambda path: tmp_path / Path(path).name)
    monkeypatch.setattr(platform, "processor", lambda: "generic")
    assert machine.hardware()["processor"] == expected
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert machine.hardware()["processor"] in (expected, platform.machine())


def test_memory_is_in_gib() -> None:
    meminfo = Path("/proc/meminfo")
    if not meminfo.is_file():
        pytest.skip("no /proc/meminfo to compare with")
    found = re.search(r"MemTotal:\s+(\d+) kB", meminfo.read_text())
    assert found is not None
    assert machine.hardware()["memory_gib"] == pytest.approx(int(found[1]) / 2**20, rel=0.1, abs=1)


def test_the_peak_of_memory_is_in_gib_and_never_falls() -> None:
    before = machine.peak_rss_gib()
    block = bytearray(b"x") * (200 * 2**20)
    after = machine.peak_rss_gib()
    assert len(block) / 2**30 < after < 1024  # GiB, not KiB or bytes
    assert after >= before


def test_the_command_has_the_programs_name_and_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/deep/bin/crbench", "train", "my card.toml", "--seed=1"])
    assert machine.command() == "crbench train 'my card.toml' --seed=1"
    monkeypatch.setattr(sys, "argv", [""])
    assert machine.command() == "python"


def test_the_time_is_utc() -> None:
    made = datetime.datetime.strptime(machine.now_utc(), "%Y-%m-%dT%H:%M:%SZ")
    now = datetime.datetime.now(datetime.UTC).replace(tzinfo=None)
    assert abs(now - made) < datetime.timedelta(minutes=1)
