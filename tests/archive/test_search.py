"""A run opened to search in it: by which record, with which embeddings."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import crbench
from crbench.archive.search import Search, open_search
from crbench.data.cache.reading import Cache
from crbench.embedding.embedder import embed_run
from crbench.errors import UserError
from crbench.records import Record, read_record
from crbench.run.opened import open_run


def image(cache: Cache, query: str, modality: str) -> np.ndarray:
    return np.array(cache.images(modality)[cache.ids.tolist().index(query)])


def test_a_run_without_a_record_is_embedded_and_searched(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    for path in (*copy.glob("record*"), copy / "embeddings.h5"):
        path.unlink()
    shutil.rmtree(copy / "index", ignore_errors=True)
    found, own = open_search(copy, quiet=True), open_search(run, quiet=True)
    assert found.record is None and found.protocol_name == "leave-one-out"
    query = str(found.cache.ids[-1])
    assert found.by_id(query, "ab", 30).items == own.by_id(query, "ab", 30).items


def test_embeddings_that_are_not_the_records(run: Path, tmp_path: Path) -> None:
    """A pulled run brings a record and no embeddings: it is searched, and says whose they are."""
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    (copy / "embeddings.h5").unlink()
    for _ in range(2):  # the second time they are there, and not the record's
        found = open_search(copy, quiet=True)
        assert found.record is None
        assert found.by_id(str(found.cache.ids[-1]), "ab").items
    with pytest.raises(UserError, match="not those of the record"):
        open_search(copy, record=read_record(run / "record.json"), quiet=True)


def test_embeddings_made_again_make_a_new_index(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    (copy / "record.json").unlink()
    first = open_search(copy, quiet=True)
    query = str(first.cache.ids[-1])
    first.by_id(query, "ab")
    key = (copy / "index" / "b-cross-leave-one-out.key").read_text()
    embed_run(open_run(copy), splits=["test"], quiet=True)
    second = open_search(copy, quiet=True)
    assert second.digest != first.digest
    second.by_id(query, "ab")
    assert (copy / "index" / "b-cross-leave-one-out.key").read_text() != key


def test_the_python_function(run: Path, search: Search) -> None:
    query = str(search.cache.ids[-1])
    items = search.by_id(query, "ba", 4).items
    assert crbench.search(run, query, direction="ba", top=4).items == items
    pixels = image(search.cache, query, "b")
    found = crbench.search(run, pixels, direction="ba", top=4)
    assert [item.id for item in found.items] == [item.id for item in items]
    assert isinstance(search.record, Record)
