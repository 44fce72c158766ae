"""The stored index: made once, mapped, and made again where it is stale or damaged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crbench.archive.search import Search, open_search
from crbench.files import read_json, write_json


def test_the_index_is_stored_once_and_mapped(run: Path) -> None:
    shutil.rmtree(run / "index", ignore_errors=True)
    query = str(open_search(run, quiet=True).cache.ids[-1])
    first = open_search(run, quiet=True).by_id(query, "ab", 9)
    (file,) = (run / "index").glob("*.npy")
    assert file.name == "b-cross-leave-one-out.npy"
    before = file.stat().st_mtime_ns
    found = open_search(run, quiet=True)
    assert found.by_id(query, "ab", 9).items == first.items
    assert file.stat().st_mtime_ns == before
    base: Any = found.gallery("b/cross").vectors
    while not isinstance(base, np.memmap):
        base = base.base
    assert not found.gallery("b/cross").vectors.flags.writeable


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-40] ^= 0x40
    path.write_bytes(data)


def swap(path: Path) -> None:
    """A sound file of something else: the key says so."""
    said = read_json(path.with_suffix(".key"))
    write_json(path.with_suffix(".key"), said | {"key": "0" * 64})


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "a flipped bit": flip,
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:200]),
    "no array": lambda path: path.write_bytes(b"x" * 500),
    "no key": lambda path: path.with_suffix(".key").unlink(),
    "a damaged key": lambda path: path.with_suffix(".key").write_text('{"key":'),
    "of something else": swap,
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_stale_or_damaged_index_is_made_again(run: Path, search: Search, how: str) -> None:
    query = str(search.cache.ids[-1])
    expected = search.by_id(query, "ab", 30).items
    file = run / "index" / "b-cross-leave-one-out.npy"
    sound = file.read_bytes()
    DAMAGE[how](file)
    assert open_search(run, quiet=True).by_id(query, "ab", 30).items == expected
    assert file.read_bytes() == sound


def test_a_folder_that_cannot_be_written_is_searched_all_the_same(
    run: Path, search: Search
) -> None:
    expected = search.by_id(str(search.cache.ids[-1]), "ab", 9).items
    shutil.rmtree(run / "index")
    (run / "index").write_text("a file where the folder would be")
    try:
        found = open_search(run, quiet=True).by_id(str(search.cache.ids[-1]), "ab", 9)
        assert found.items == expected
        assert (run / "index").is_file()
    finally:
        (run / "index").unlink()
