"""A run's embeddings: of every split that is scored, made again when anything differs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crbench.data.cache.reading import open_cache
from crbench.embedding.embedder import embed_run, scored_splits
from crbench.embedding.file import read_embeddings
from crbench.evaluation.evaluate import evaluate
from crbench.run.opened import open_run

CARD = "ben-14k-twin"


@pytest.fixture
def copy(trained_run: Path, tmp_path: Path) -> Path:
    """A copy of the trained run, embedded."""
    embed_run(open_run(trained_run), quiet=True)
    return Path(shutil.copytree(trained_run, tmp_path / "copy"))


def mtime(run: Path) -> int:
    return embed_run(open_run(run), quiet=True).stat().st_mtime_ns


def edit(run: Path, change: Any) -> None:
    info = json.loads((run / "run.json").read_text())
    change(info)
    (run / "run.json").write_text(json.dumps(info))


def test_another_dataset_card_embeds_again(copy: Path) -> None:
    before = mtime(copy)
    assert mtime(copy) == before
    edit(copy, lambda info: info["dataset"].update(title="another"))
    assert mtime(copy) != before


def test_other_weights_embed_again(copy: Path, other_seed: Path) -> None:
    """The run of another seed in the same folder: cards and cache are the same."""
    before = mtime(copy)
    for name in ("run.json", "weights.safetensors"):
        shutil.copy(other_seed / name, copy / name)
    assert mtime(copy) != before


def test_a_damaged_array_is_embedded_again(copy: Path) -> None:
    file = embed_run(open_run(copy), quiet=True)
    sound = read_embeddings(file, open_cache_of(copy).ids).arrays["a/cross"]
    data = bytearray(file.read_bytes())
    data[bytes(data).index(sound.tobytes()[:64]) + 9] ^= 0xFF
    file.write_bytes(data)
    evaluate(copy, quiet=True)
    again = read_embeddings(file, open_cache_of(copy).ids).arrays["a/cross"]
    np.testing.assert_array_equal(again, sound)


def test_a_file_of_another_kind_in_its_place_is_replaced(copy: Path) -> None:
    for content in (b"", b"no HDF5", (copy / "embeddings.h5").read_bytes()[:3000]):
        (copy / "embeddings.h5").write_bytes(content)
        assert read_embeddings(
            embed_run(open_run(copy), quiet=True), open_cache_of(copy).ids
        ).arrays


def open_cache_of(run: Path) -> Any:
    return open_cache(json.loads((run / "run.json").read_text())["cache"])


def test_every_split_that_a_protocol_names_is_embedded(twin_cache: Path) -> None:
    assert scored_splits(open_cache(twin_cache)) == ["test", "val"]


def test_embeddings_are_reused_only_where_nothing_changed(trained_run: Path) -> None:
    path = embed_run(open_run(trained_run), quiet=True)
    first = path.stat().st_mtime_ns
    assert embed_run(open_run(trained_run), quiet=True).stat().st_mtime_ns == first
    assert embed_run(open_run(trained_run), splits=["val"], quiet=True).stat().st_mtime_ns != first
