"""A cache for a test to damage."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def copy(twin_cache: Path, tmp_path: Path) -> Path:
    """A cache of its own for a test to damage."""
    return Path(shutil.copy(twin_cache, tmp_path / "ben-14k-twin.h5"))
