"""The file's layout: all its space from the first moment, and digests of what it says."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from crbench.cards import load_dataset
from crbench.cli.app import app
from crbench.data.cache import layout
from crbench.data.cache.build import build_cache
from crbench.data.cache.reading import EXTENT, cache_info, open_cache
from crbench.data.cache.scan import scan
from crbench.data.cache.verify import verify_cache
from crbench.data.sources import open_source

SIZES = [f"source.splits.{name}={size}" for name, size in (("train", 20), ("val", 5), ("test", 9))]


def test_images_are_contiguous_for_other_readers_too(tmp_path: Path) -> None:
    path = build_cache(load_dataset("ben-14k-twin", overrides=SIZES), tmp_path / "c.h5", quiet=True)
    with h5py.File(path) as file:
        for which in ("a", "b"):
            assert file[which]["images"].chunks is None
            np.testing.assert_array_equal(file[which]["images"][:], open_cache(path).images(which))
        assert file.attrs["complete"] == 1


def test_a_cache_without_ranges_and_groups_is_read_as_before(tmp_path: Path) -> None:
    """Caches of the first builds have neither; their header's digest is of what they have."""
    path = build_cache(load_dataset("ben-14k-twin", overrides=SIZES), tmp_path / "c.h5", quiet=True)
    digest = open_cache(path).digest
    with h5py.File(path, "r+") as file:
        for which in ("a", "b"):
            for key in EXTENT:
                del file[which].attrs[key]
        file.attrs.modify("header_sha256", np.bytes_(layout.header_digest(file).encode()))
    assert verify_cache(path, quiet=True)[0] == []
    assert open_cache(path).digest == digest
    assert cache_info(path)["modalities"]["a"]["min"] is None
    assert "invalid" not in CliRunner().invoke(app, ["cache", "info", str(path)]).stdout


def test_sealing_moves_nothing_and_sets_the_mark_last(tmp_path: Path) -> None:
    """Created whole: pixels may be written at offsets before statistics and digests are known."""
    card, part = load_dataset("ben-14k-twin", overrides=SIZES), tmp_path / "c.part"
    source = open_source(card)
    layout.create_file(card, source, part)
    spans, size = layout.spans(part), part.stat().st_size
    assert all(offset + np.prod(s) * d.itemsize <= size for offset, d, s in spans.values())
    train = np.arange(34) < 20
    scans = {
        name: scan(np.memmap(part, d, "r", offset, s), train=train if name in "ab" else None)
        for name, (offset, d, s) in spans.items()
    }
    with pytest.raises(TypeError, match="broadcast"):  # as a disk that fails in the middle
        layout.seal(part, {**scans, "b": scan(np.zeros((3, 1)))}, train)
    with h5py.File(part) as file:
        assert file.attrs["complete"] == 0
    layout.seal(part, scans, train)
    assert (layout.spans(part), part.stat().st_size) == (spans, size)
    with h5py.File(part) as file:
        assert file.attrs["complete"] == 1
        assert json.loads(file.attrs["sha256"])["ids"] == scans["ids"].sha256
        assert file.attrs["header_sha256"].decode() == layout.header_digest(file)
