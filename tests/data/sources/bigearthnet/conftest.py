"""The writer of tiny raw data, and pairs of names to write."""

import importlib.util
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from crbench.cards import DatasetCard, load_dataset
from crbench.data.cache.build import build_cache
from crbench.data.cache.reading import Cache, open_cache
from crbench.data.sources.bigearthnet.members import canonical, shipped, with_members

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


@pytest.fixture(scope="session")
def build() -> Callable[[DatasetCard, Path, Path], Cache]:
    """A cache at a path of a card and a folder of raw data."""
    return _build


@pytest.fixture(scope="session")
def check_against() -> Callable[[Cache, list[Any], ModuleType], None]:
    """Compares a cache with the patches that were written."""
    return _check_against


def _build(card: DatasetCard, folder: Path, out: Path) -> Cache:
    return open_cache(build_cache(card, out, source_dir=folder, quiet=True), card)


def _exact(pixels: np.ndarray, factor: int) -> list[list[Fraction]]:
    """Bilinear enlargement with half-pixel centres and held edges, in fractions."""

    def line(values: list[Fraction]) -> list[Fraction]:
        result = []
        for k in range(factor * len(values)):
            at = min(max(Fraction(2 * k + 1, 2 * factor) - Fraction(1, 2), 0), len(values) - 1)
            left = int(at)
            right = min(left + 1, len(values) - 1)
            result.append(values[left] * (1 - (at - left)) + values[right] * (at - left))
        return result

    rows = [line([Fraction(int(value)) for value in row]) for row in pixels]
    columns = [line(list(column)) for column in zip(*rows, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)]


def _check_against(cache: Cache, made: list[Any], data: ModuleType) -> None:
    """Every value of the cache is one that was written, or exactly between those that were."""
    by_id = {canonical(patch.s2): patch for patch in made}
    assert sorted(cache.ids) == sorted(by_id)
    known = shipped()
    a, b = cache.card.a.bands, cache.card.b.bands
    for row, name in enumerate(cache.ids):
        patch = by_id[name]
        for channel, band in enumerate(a):
            np.testing.assert_array_equal(cache.images("a")[row, channel], patch.bands[band])
        for channel, band in enumerate(b):
            found = cache.images("b")[row, channel]
            if data.SIDES[band] == 1:
                np.testing.assert_array_equal(found, patch.bands[band])
            else:
                wanted = _exact(patch.bands[band], data.SIDES[band])
                off = [abs(x - int(y)) for xs, ys in zip(wanted, found, strict=True)
                       for x, y in zip(xs, ys, strict=True)]  # fmt: skip
                assert max(off) <= Fraction(1, 2)
        classes = {cache.card.labels.classes[k] for k in np.flatnonzero(cache.labels[row])}
        assert classes == set(data.CLASSES[patch.kind])
        assert cache.split[row] == known.split[name]
        assert cache.groups[row] == f"{patch.s1.split('_')[5]}/{patch.s2.split('_')[2][:8]}"
