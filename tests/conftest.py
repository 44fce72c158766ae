"""Fixtures that several floors share: a small twin, a trained run, a browser, the real imagery."""

import importlib.util
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import crbench  # noqa: F401  (first of all: it sets how OpenMP threads wait)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def twin_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real cache of the BEN-14K twin with 96 + 24 + 40 pairs."""
    from crbench.cards import load_dataset
    from crbench.data.build import build_cache

    sizes = {"train": 96, "val": 24, "test": 40}
    overrides = [f"source.splits.{name}={size}" for name, size in sizes.items()]
    path = tmp_path_factory.mktemp("caches") / "ben-14k-twin.h5"
    return build_cache(load_dataset("ben-14k-twin", overrides=overrides), path, quiet=True)


@pytest.fixture(scope="session")
def trained_run(twin_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CR-JEPA at ``tiny``, two epochs on the small twin."""
    from crbench.runs.train import train

    out = tmp_path_factory.mktemp("runs") / "cr-jepa"
    return train(
        "cr-jepa", "ben-14k-twin", scale="tiny", epochs=2, cache=twin_cache, out=out, quiet=True
    )


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless browser that is installed already, or a skip that says what is missing."""
    path = ROOT / "scripts" / "make_screenshots.py"
    spec = importlib.util.spec_from_file_location("make_screenshots", path)
    assert spec is not None and spec.loader is not None
    shots = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shots)
    if shots.programs() is None:
        message = "no browser: chromium and chromium-driver are not installed"
        if os.environ.get("CRBENCH_REQUIRE_BROWSER"):
            pytest.fail(message)
        pytest.skip(message)
    browser = shots.open_browser()
    yield browser
    browser.quit()


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """``real_data(name)``: a folder of the real imagery, or a skip that says what is missing."""

    def find(name: str) -> Path:
        base = os.environ.get("CRBENCH_REAL_DATA") or str(ROOT.parent / "shared" / "data")
        folder = Path(base) / name
        if not folder.is_dir():
            message = f"real imagery '{name}' is not at $CRBENCH_REAL_DATA or ../shared/data"
            if os.environ.get("CRBENCH_REQUIRE_REAL_DATA"):
                pytest.fail(message)
            pytest.skip(message)
        return folder

    return find
