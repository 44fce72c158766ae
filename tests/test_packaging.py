"""A wheel and an editable install both work from outside the checkout, cards and tables included.

Each is installed with ``--no-deps`` into an empty environment that sees the libraries of this one
through a path file, so that nothing is downloaded and the checkout itself is not on the path.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

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
