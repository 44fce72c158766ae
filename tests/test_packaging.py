"""A wheel and an editable install both work from outside the checkout, cards and tables included.

Each is installed with ``--no-deps`` into an empty environment that sees the libraries of this one
through a path file, so that nothing is downloaded and the checkout itself is not on the path.
The lock that `make` installs from holds all that they need, within the bounds.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import tomllib
import venv
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parent.parent
PIP = ("-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet")


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    hidden = ("PYTHONPATH", "PYTHONHOME", "CRBENCH_CACHES")
    env = {key: value for key, value in os.environ.items() if key not in hidden}
    done = subprocess.run(list(map(str, command)), cwd=cwd, env=env, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


def environment(folder: Path) -> Path:
    """An environment with nothing of its own that sees the installed libraries; its Python."""
    venv.create(folder, with_pip=False, symlinks=True)
    libraries = sysconfig.get_paths(vars={"base": str(folder), "platbase": str(folder)})["purelib"]
    Path(libraries, "outer.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return folder / "bin" / "python"


def check(python: Path, cwd: Path) -> str:
    """Use the installed package from ``cwd``; returns where it was imported from."""
    crbench = python.with_name("crbench")
    listed = run(crbench, "list", "--json", cwd=cwd).stdout
    for name in ("cr-jepa", "ben-14k-twin"):
        assert f'"{name}"' in listed
    records = ROOT / "results" / "records" / "eurosat-wald" / "cca"
    out = python.parent
    board = run(crbench, "leaderboard", "--records", records, "--out", out, cwd=cwd).stdout
    page = (out / "leaderboard.html").read_text(encoding="utf-8")
    assert "<style>" in page and "aria-sort" in page  # templates, style and script came along
    assert "CSMAE-SESD" in board  # the published tables came along
    assert "Wald-simulated" in board
    assert run(crbench, "--version", cwd=cwd).stdout.startswith("crbench ")
    assert run(python, "-m", "crbench", "--help", cwd=cwd).stdout
    code = "import crbench; from crbench import cards; print(crbench.__file__)"
    return run(python, "-c", f"{code}; print(cards.card_folder('methods'))", cwd=cwd).stdout


@pytest.fixture(scope="module")
def outside(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outside")


def test_wheel(outside: Path, tmp_path: Path) -> None:
    build = (*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tmp_path, ROOT)
    run(sys.executable, *build, cwd=outside)
    (wheel,) = tmp_path.glob("crbench-*.whl")
    python = environment(tmp_path / "env")
    run(python, *PIP, "install", "--no-deps", "--no-index", wheel, cwd=outside)
    where = check(python, outside)
    assert str(tmp_path) in where and str(ROOT) not in where
    assert "_cards" in where.splitlines()[1]


def test_editable(outside: Path, tmp_path: Path) -> None:
    python = environment(tmp_path / "env")
    install = ("install", "--no-deps", "--no-index", "--no-build-isolation", "--editable", ROOT)
    run(python, *PIP, *install, cwd=outside)
    package, cards = check(python, outside).splitlines()
    assert package == str(ROOT / "crbench" / "__init__.py")
    assert cards == str(ROOT / "methods")  # the checkout's own, so that an edited card counts


MACHINES = [
    {
        "python_full_version": f"{python}.0", "python_version": python, "os_name": "posix",
        "implementation_name": "cpython", "platform_python_implementation": "CPython",
        "sys_platform": system, "platform_system": name, "platform_machine": processor,
        "extra": "",
    }
    for python in ("3.11", "3.12", "3.13")
    for system, name, processor in (
        ("linux", "Linux", "x86_64"), ("linux", "Linux", "aarch64"), ("darwin", "Darwin", "arm64"),
    )
]  # fmt: skip


def machine_id(machine: dict[str, str]) -> str:
    return "-".join(machine[key] for key in ("python_version", "sys_platform", "platform_machine"))


@pytest.mark.parametrize("machine", MACHINES, ids=machine_id)
def test_the_lock_holds_one_version_of_each_dependency_within_its_bounds(
    machine: dict[str, str],
) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"]
    needed = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    needed += [*extras["dev"], *extras["docs"]]
    locked: dict[str, str] = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            (only,) = pin.specifier
            assert only.operator == "==" and not pin.extras and not pin.url, line
            if pin.marker is None or pin.marker.evaluate(machine):
                assert pin.name not in locked, line
                locked[pin.name] = only.version
    assert len(locked) > 100
    for requirement in map(Requirement, needed):
        if requirement.name != "crbench" and (
            requirement.marker is None or requirement.marker.evaluate(machine)
        ):
            version = locked[requirement.name.lower().replace("_", "-")]
            assert requirement.specifier.contains(version), f"{requirement}: {version}"
