"""Runs of four steps an epoch, one of them watched in every way that there is."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crbench import train
from crbench.run.folder import Options

Go = Callable[..., Path]
Once = Callable[[str, Callable[[Path], object]], Path]


@pytest.fixture(scope="session")
def go() -> Go:
    """``go(cache, out, resume=False, epochs=3, **options)`` trains CR-JEPA, watched as asked."""

    def trained(
        cache: Path, out: Path, resume: bool = False, epochs: int = 3, **options: Any
    ) -> Path:
        return train(
            "cr-jepa", "ben-14k-twin", scale="tiny", epochs=epochs,
            overrides=["train.batch_size=24"], cache=cache, out=out, quiet=True, resume=resume,
            options=Options(**options),
        )  # fmt: skip

    return trained


@pytest.fixture(scope="session")
def plain(go: Go, twin_cache: Path, once: Once) -> Path:
    """A run that nothing watches; nothing writes in it."""
    return once("training-plain", lambda folder: go(twin_cache, folder / "plain")) / "plain"


@pytest.fixture(scope="session")
def watched(go: Go, twin_cache: Path, once: Once, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same run, watched; a copy for each worker to write in."""
    options = {"eval_every": 2, "keep_best": "map", "keep_last": 2, "track": ["tensorboard"]}
    made = once("training-watched", lambda f: go(twin_cache, f / "watched", **options)) / "watched"
    return Path(shutil.copytree(made, tmp_path_factory.mktemp("watch") / "watched"))
