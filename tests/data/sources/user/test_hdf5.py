"""A user's own HDF5 file: what is stored is what is read, under any names, or it is refused."""

from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from crbench.cards import DatasetCard, load_dataset
from crbench.data.cache.build import build_cache
from crbench.data.cache.reading import open_cache
from crbench.data.cache.verify import verify_cache
from crbench.data.sources import Source, open_source
from crbench.errors import UserError

CARD = """
name = "mine"
title = "Mine"
summary = "a set of my own"
licence = "mine"
citation = "me"
where = "my disk"
train_splits = ["train"]
headline = ["map"]
protocol = "split"
[protocols.split]
query = ["query"]
gallery = ["train"]
[a]
name = "SAR"
sensor = "SAR"
bands = ["VV", "VH"]
size = [8, 6]
dtype = "float32"
units = "dB"
display = ["VV"]
[b]
name = "PAN"
sensor = "optical"
bands = ["P"]
size = [4, 4]
dtype = "uint16"
units = "DN"
display = ["P"]
[labels]
kind = "single"
classes = ["field", "forest", "lake"]
[source]
kind = "hdf5"
[source.split]
shares = { train = 0.5, query = 0.5 }
"""
N = 24


def card(tmp_path: Path, text: str = CARD) -> DatasetCard:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return load_dataset(str(path))


@pytest.fixture
def arrays() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "a/images": rng.normal(-12, 4, (N, 2, 8, 6)).astype(np.float32),
        "b/images": rng.integers(0, 65536, (N, 1, 4, 4)).astype(np.uint16),
        "labels": np.arange(N) % 3,
        "ids": [f"tile-ü-{k:03d}" for k in range(N)],
        "split": ["train"] * 16 + ["query"] * 8,
    }


def write(path: Path, arrays: dict[str, Any]) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return path


def test_the_usual_names(tmp_path: Path, arrays: dict[str, Any]) -> None:
    path = write(tmp_path / "x.h5", arrays)
    mine = card(tmp_path)
    cache = open_cache(build_cache(mine, tmp_path / "c.h5", source_dir=path, quiet=True), mine)
    for which in ("a", "b"):
        np.testing.assert_array_equal(cache.images(which), arrays[f"{which}/images"])
    np.testing.assert_array_equal(cache.labels, arrays["labels"])
    assert cache.ids.tolist() == arrays["ids"]
    assert cache.split.tolist() == arrays["split"]
    assert verify_cache(cache.path, quiet=True)[0] == []
    again = build_cache(mine, tmp_path / "d.h5", source_dir=cache.path, quiet=True)
    assert open_cache(again).digest == cache.digest  # a cache is such a file too


def test_other_names_orders_and_no_ids(tmp_path: Path, arrays: dict[str, Any]) -> None:
    stored = {
        "sar": arrays["a/images"].transpose(0, 2, 3, 1),
        "pan": arrays["b/images"][:, 0].astype(">u2"),
        "class": np.array(["field", "forest", "lake"], dtype="S")[arrays["labels"]],
    }
    (tmp_path / "raw").mkdir()
    write(tmp_path / "raw" / "set.hdf5", stored)
    text = CARD.replace('kind = "hdf5"', 'kind = "hdf5"\na = "sar"\nb = "pan"\nlabels = "class"')
    source = open_source(card(tmp_path, text), tmp_path / "raw")
    assert isinstance(source, Source)
    block = source.read(5, 11)
    np.testing.assert_array_equal(block.a, arrays["a/images"][5:11])
    np.testing.assert_array_equal(block.b, arrays["b/images"][5:11])
    np.testing.assert_array_equal(block.labels, arrays["labels"][5:11])
    assert source.ids[:2] == ["mine-00", "mine-01"]
    assert Counter(source.split) == {"train": 12, "query": 12}
    assert source.notes[0].startswith("layout: sar (N, H, W, C), pan (N, C, H, W)")
    assert source.notes[1:] == [
        "classes: field 8, forest 8, lake 8",
        "no 'ids': ids are numbers of rows",
        "no 'split': split by hash of the id, seed 0, shares within each class: query 12, train 12",
    ]


@pytest.mark.parametrize("kind", ["single", "multi", "none"])
def test_kinds_of_labels(tmp_path: Path, arrays: dict[str, Any], kind: str) -> None:
    hot = np.eye(3)[arrays["labels"]]
    arrays["labels"] = hot
    text = CARD.replace('kind = "single"', f'kind = "{kind}"')
    mine = card(tmp_path, text)
    path = write(tmp_path / "x.h5", arrays)
    cache = open_cache(build_cache(mine, tmp_path / "c.h5", source_dir=path, quiet=True))
    want = {"single": hot.argmax(1), "multi": hot.astype(np.uint8), "none": None}[kind]
    if want is None:
        assert cache.labels is None
    else:
        np.testing.assert_array_equal(cache.labels, want)


def test_a_multi_label_set_may_have_one_class(tmp_path: Path, arrays: dict[str, Any]) -> None:
    arrays["labels"] = np.arange(N)[:, None] % 2
    text = CARD.replace('kind = "single"', 'kind = "multi"').replace(', "forest", "lake"', "")
    source = open_source(card(tmp_path, text), write(tmp_path / "x.h5", arrays))
    assert isinstance(source, Source)
    np.testing.assert_array_equal(source.read(3, 9).labels, arrays["labels"][3:9])


def test_chunks_are_read_whole(tmp_path: Path, arrays: dict[str, Any]) -> None:
    path = write(tmp_path / "x.h5", arrays)
    with h5py.File(path, "r+") as file:
        del file["a/images"]
        file.create_dataset(
            "a/images", data=arrays["a/images"], chunks=(7, 2, 8, 6), compression="gzip"
        )
    source = open_source(card(tmp_path), path)
    assert isinstance(source, Source)
    assert source.rows_per_block == 252
    np.testing.assert_array_equal(source.read(0, N).a, arrays["a/images"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a/images": None}, r"no array 'a/images'; there are: b/images uint16 .*, ids object"),
        ({"labels": None}, "no array 'labels'"),
        ({"a/images": np.zeros((N, 2, 8, 6))}, "'a/images' is 24×2×8×6 float64, the card"),
        ({"a/images": np.zeros((N, 3, 8, 6), np.float32)}, "the card says SAR is 2×8×6"),
        ({"b/images": np.zeros((9, 1, 4, 4), np.uint16)}, "24 images of a, 9 of b"),
        ({"labels": np.full(N, 3)}, r"labels: int64 \(24,\), 3 to 3; expected 24 .* from 0 to 2"),
        ({"labels": np.array(["field"] * 23 + ["feild"], dtype="S")}, "did you mean 'field'"),
        (
            {"labels": np.ones((N, 3), np.uint8)},
            r"labels: uint8 \(24, 3\), 1 to 1; .*, a single 1 a row",
        ),
        ({"labels": np.zeros((N, 2))}, r"labels: float64 \(24, 2\), 0 to 0; expected .* \(24, 3\)"),
        ({"ids": np.arange(7)}, r"'ids' is int64 \(7,\), expected 24 texts"),
        ({"ids": np.linspace(0, 1, N)}, r"'ids' is float64 \(24,\), expected 24 texts or whole"),
        ({"ids": ["x"] * N}, "the id 'x' repeats"),
        ({"split": ["train"] * N}, "no pair is in split 'query'"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, arrays: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    stored = {name: array for name, array in {**arrays, **change}.items() if array is not None}
    path = write(tmp_path / "x.h5", stored)
    with pytest.raises(UserError, match=message):
        build_cache(card(tmp_path), tmp_path / "c.h5", source_dir=path, quiet=True)
    assert not (tmp_path / "c.h5").exists()


def test_labels_that_declare_too_much_are_not_read(tmp_path: Path, arrays: dict[str, Any]) -> None:
    """A file of some kilobytes may declare what no machine holds."""
    del arrays["labels"]
    path = write(tmp_path / "x.h5", arrays)
    with h5py.File(path, "r+") as file:
        file.create_dataset("labels", shape=(N, 1 << 40), dtype="u1", chunks=(1, 1 << 20))
    with pytest.raises(UserError, match=r"labels: uint8 \(24, 1099511627776\); expected 24"):
        open_source(card(tmp_path), path)


def test_nothing_says_the_split(tmp_path: Path, arrays: dict[str, Any]) -> None:
    del arrays["split"]
    text = CARD[: CARD.index("[source.split]")]
    with pytest.raises(UserError, match="neither the data nor the card") as caught:
        open_source(card(tmp_path, text), write(tmp_path / "x.h5", arrays))
    assert "[source.split.shares]" in str(caught.value)


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("shares = { train = 0.5, query = 0.4 }", "do not sum to 1"),
        ("shares = { train = 1.0 }\ncounts = { query = 2 }", "shares or counts"),
        ("counts = { query = 0 }", "counts.query: Input should be greater than 0"),
        ("counts = {}", "counts: Dictionary should have at least 1 item"),
        ("counts = { query = 24 }", "split 'query' would take 24 of 24 pairs"),
        ('counts = { query = 2 }\nbalanced = ["val"]', "balanced names 'val'"),
        ("sedd = 1\ncounts = { query = 2 }", "unknown key 'sedd'"),
    ],
)
def test_rules_that_make_no_sense(
    tmp_path: Path, arrays: dict[str, Any], rule: str, message: str
) -> None:
    del arrays["split"]
    text = CARD.replace("shares = { train = 0.5, query = 0.5 }", rule)
    with pytest.raises(UserError, match=message):
        open_source(card(tmp_path, text), write(tmp_path / "x.h5", arrays))


def test_files_that_are_none(tmp_path: Path, arrays: dict[str, Any]) -> None:
    path = write(tmp_path / "x.h5", arrays)
    (tmp_path / "cut.h5").write_bytes(path.read_bytes()[:2000])
    with pytest.raises(UserError, match="no sound HDF5 file"):
        open_source(card(tmp_path), tmp_path / "cut.h5")
    with pytest.raises(UserError, match="2 HDF5 files"):
        open_source(card(tmp_path), tmp_path)
    with pytest.raises(UserError, match="the raw data of mine are not there"):
        open_source(card(tmp_path), tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no HDF5 file is here"):
        open_source(card(tmp_path), tmp_path / "empty")


def test_values_in_other_files_are_not_followed(tmp_path: Path, arrays: dict[str, Any]) -> None:
    path = write(tmp_path / "x.h5", arrays)
    with h5py.File(tmp_path / "linked.h5", "w") as file:
        for name in arrays:
            file[name] = h5py.ExternalLink(str(path), name)
    with pytest.raises(UserError, match="lie in another file"):
        open_source(card(tmp_path), tmp_path / "linked.h5")
    with h5py.File(path, "r+") as file:
        layout = h5py.VirtualLayout(shape=(N, 2, 8, 6), dtype="f4")
        layout[:] = h5py.VirtualSource("elsewhere.h5", "a", shape=(N, 2, 8, 6))
        del file["a/images"]
        file.create_virtual_dataset("a/images", layout)
    with pytest.raises(UserError, match="lie in another file"):
        open_source(card(tmp_path), path)
