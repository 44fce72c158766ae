"""The writer of tiny raw data, and pairs of names to write."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from crbench.cards import DatasetCard, load_dataset
from crbench.data.sources.bigearthnet.members import shipped, with_members

SMALL = ("a.size=[12, 12]", "b.size=[12, 12]")


@pytest.fixture(scope="session")
def data() -> ModuleType:
    """``data.py`` of this folder."""
    spec = importlib.util.spec_from_file_location(
        "ben14k_data", Path(__file__).with_name("data.py")
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def names() -> list[tuple[str, str]]:
    """Five members of BEN-14K of each split, by both names, and the last three without the
    leading zero of the hour."""
    known = shipped()
    chosen = []
    for split in ("train", "val", "test"):
        chosen += [name for name in known.ids if known.split[name] == split][40:1000:200]
    pairs = [(name, known.s1[name]) for name in chosen]
    return [*pairs[:-3], *((name.replace("T0", "T"), s1) for name, s1 in pairs[-3:])]


@pytest.fixture(scope="session")
def made(data: ModuleType, names: list[tuple[str, str]]) -> list[Any]:
    """Tiny patches under these names, in no order."""
    found = data.patches(names)
    return [*found[7:], *found[:7]]


@pytest.fixture
def card(tmp_path: Path, made: list[Any]) -> DatasetCard:
    """BEN-14K at 12 × 12 px, asking for the tiny patches by a list."""
    path = tmp_path / "members.txt"
    path.write_text("".join(f"{name}\n" for name in sorted(patch.s2 for patch in made)))
    return with_members(load_dataset("ben-14k", overrides=SMALL), str(path))
