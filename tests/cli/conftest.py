"""The command line as a user calls it, in an empty folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from crbench.cli import app


@pytest.fixture
def crbench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the command in an empty folder; what it printed and its exit code."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRBENCH_CACHES", str(tmp_path / "caches"))
    monkeypatch.setenv("COLUMNS", "200")

    def call(*words: object) -> Result:
        return CliRunner().invoke(app, [str(word) for word in words])

    return call


@pytest.fixture(scope="session")
def refused() -> Callable[..., None]:
    """``refused(result, *pieces)``: exit code 2, a message that holds all of them, no traceback."""

    def check(result: Result, *pieces: str) -> None:
        text = result.output + (result.stderr or "")
        assert result.exit_code == 2, text
        assert "Traceback" not in text
        for piece in pieces:
            assert piece in text, f"{piece!r} is not in:\n{text}"

    return check


@pytest.fixture(scope="session")
def evaluated_run(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the trained run with its record."""
    from crbench.evaluation.evaluate import evaluate

    copy = Path(shutil.copytree(trained_run, tmp_path_factory.mktemp("evaluated") / "cr-jepa"))
    evaluate(copy, quiet=True)
    return copy
