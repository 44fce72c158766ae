"""Runs whose archives are searched: one that serves by its heads, one that predicts its queries."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from crbench import train
from crbench.archive.search import Search, open_search
from crbench.evaluation.evaluate import evaluate


@pytest.fixture(scope="session")
def run(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the trained run, evaluated."""
    copy = Path(shutil.copytree(trained_run, tmp_path_factory.mktemp("search") / "cr-jepa"))
    for path in (*copy.glob("record*"), *copy.glob("embeddings*")):
        path.unlink()
    evaluate(copy, quiet=True)
    return copy


@pytest.fixture(scope="session")
def predicting(
    twin_cache: Path,
    once: Callable[[str, Callable[[Path], object]], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """X-JEPA, whose queries across sensors are predicted and its gallery is not, evaluated."""

    def make(folder: Path) -> None:
        out = folder / "x-jepa"
        train("x-jepa", "ben-14k-twin", scale="tiny", epochs=1, cache=twin_cache, out=out,
              quiet=True)  # fmt: skip
        evaluate(out, quiet=True)

    copy = tmp_path_factory.mktemp("search") / "x-jepa"
    return Path(shutil.copytree(once("archive-x-jepa", make) / "x-jepa", copy))


@pytest.fixture
def search(run: Path) -> Search:
    return open_search(run, quiet=True)
