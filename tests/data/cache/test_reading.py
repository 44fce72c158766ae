"""Opening and verifying: a damaged or foreign file is refused, and the damage has a name."""

import json
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest

from crbench.cards import DatasetCard, load_dataset
from crbench.data.cache.reading import (
    Cache,
    array_table,
    cache_info,
    check_bands,
    decode,
    default_path,
    encode,
    open_cache,
)
from crbench.data.cache.verify import verify_cache
from crbench.errors import UserError


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
def test_a_cut_tail_is_refused(copy: Path, share: float) -> None:
    with open(copy, "r+b") as handle:
        handle.truncate(int(copy.stat().st_size * share))
    with pytest.raises(UserError, match="damaged or no cache") as caught:
        open_cache(copy)
    assert "cache build" in str(caught.value.fix)


def test_missing_end_mark_is_refused(copy: Path) -> None:
    with h5py.File(copy, "r+") as file:
        file.attrs["complete"] = np.uint8(0)
    with pytest.raises(UserError, match="end mark"):
        open_cache(copy)
    with h5py.File(copy, "r+") as file:
        del file.attrs["complete"]
    with pytest.raises(UserError, match="end mark"):
        verify_cache(copy, quiet=True)


def test_files_that_are_no_caches(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such cache"):
        open_cache(tmp_path / "absent.h5")
    (tmp_path / "text.h5").write_text("hello")
    with pytest.raises(UserError, match="no cache"):
        open_cache(tmp_path / "text.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = [1, 2]
    with pytest.raises(UserError, match="no cache"):
        open_cache(tmp_path / "other.h5")


@pytest.mark.parametrize("name", ["ids", "labels", "a", "split"])
def test_missing_arrays_are_refused(copy: Path, name: str) -> None:
    with h5py.File(copy, "r+") as file:
        del file[name]
    with pytest.raises(UserError, match="damaged"):
        open_cache(copy)


def test_other_versions_are_refused(copy: Path) -> None:
    with h5py.File(copy, "r+") as file:
        file.attrs["version"] = 2
    with pytest.raises(UserError, match="version 2"):
        open_cache(copy)


def _swap(card: DatasetCard, bands: list[str]) -> DatasetCard:
    return card.model_copy(update={"a": card.a.model_copy(update={"bands": bands})})


@pytest.mark.parametrize(
    ("bands", "message"),
    [
        (["VH", "VV"], "a bands: other order, cache VV, VH, card VH, VV"),
        (["VV", "HH"], "the cache lacks HH and the cache has VH"),
        (["VV"], "the cache has VH"),
        (["VV", "VH", "HH"], "the cache lacks HH"),
    ],
)
def test_bands_are_checked_by_name(twin_cache: Path, bands: list[str], message: str) -> None:
    cache = open_cache(twin_cache)
    with pytest.raises(UserError, match=message):
        open_cache(twin_cache, _swap(cache.card, bands))
    check_bands(cache, cache.card)


def test_units_size_and_classes_are_checked(twin_cache: Path) -> None:
    card = open_cache(twin_cache).card
    overrides = ["a.units=intensity", "b.size=[64, 64]", 'labels.classes=["Moon"]']
    for override, message in zip(overrides, ["units", "size", "Moon"], strict=True):
        other = load_dataset("ben-14k-twin", overrides=[override])
        with pytest.raises(UserError, match=message):
            open_cache(twin_cache, other)
    assert open_cache(twin_cache, load_dataset("ben-14k-twin")).n == 160
    assert card.source["splits"]["train"] == 96


def test_published_statistics_on_request(twin_cache: Path) -> None:
    card = load_dataset("ben-14k-twin", overrides=["normalise=published"])
    stats = open_cache(twin_cache, card).stats("a")
    assert stats["mean"].tolist() == card.a.mean
    assert stats["std"].tolist() == card.a.std
    bare = card.model_copy(update={"a": card.a.model_copy(update={"mean": None, "std": None})})
    cache = open_cache(twin_cache, bare)
    del cache.attributes["a"]["published_mean"]
    with pytest.raises(UserError, match="no published statistics"):
        cache.stats("a")


def test_rows_splits_and_read_only_maps(twin_cache: Path) -> None:
    cache = open_cache(twin_cache)
    assert cache.rows(["test"]).tolist() == list(range(120, 160))
    assert cache.rows(["train", "test"]).tolist() == [*range(96), *range(120, 160)]
    with pytest.raises(UserError, match="unknown split 'tests'"):
        cache.rows(["tests"])
    with pytest.raises(ValueError, match="read-only"):
        cache.images("a")[0] = 0


def test_a_cache_travels_to_another_process(twin_cache: Path) -> None:
    cache = open_cache(twin_cache)
    cache.images("a")
    sent = pickle.dumps(cache)
    assert len(sent) < 100_000, "the images travelled along"
    again: Cache = pickle.loads(sent)
    np.testing.assert_array_equal(again.images("a")[5], cache.images("a")[5])
    assert again.digest == cache.digest


def test_digest_speaks_of_pixels_not_of_the_card(copy: Path, twin_cache: Path) -> None:
    before = open_cache(twin_cache).digest
    assert open_cache(copy, load_dataset("ben-14k-twin", overrides=["title=X"])).digest == before
    with h5py.File(copy, "r+") as file:
        digests = json.loads(file.attrs["sha256"])
        file.attrs["sha256"] = json.dumps({**digests, "a": "0" * 64})
    assert open_cache(copy).digest != before


def test_info_is_plain_data(twin_cache: Path) -> None:
    info = json.loads(json.dumps(cache_info(twin_cache)))
    assert info["splits"] == {"train": 96, "val": 24, "test": 40}
    assert info["synthetic"] is True
    assert info["modalities"]["b"]["bands"][8] == "B8A"
    assert len(info["modalities"]["b"]["mean"]) == 12
    assert sum(info["classes"].values()) >= 160


def test_default_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CRBENCH_CACHES", raising=False)
    assert default_path(load_dataset("dsrsid-twin")) == Path("caches/dsrsid-twin.h5")
    monkeypatch.setenv("CRBENCH_CACHES", "/elsewhere")
    full = load_dataset("dsrsid-twin", scale="full")
    assert default_path(full) == Path("/elsewhere/dsrsid-twin@full.h5")


@pytest.mark.parametrize(
    ("kind", "labels"),
    [("multi", ((7, 19), "|u1")), ("single", ((7,), "<i8")), ("none", None)],
)
def test_the_table_of_arrays(kind: str, labels: object) -> None:
    card = load_dataset("ben-14k-twin", overrides=[f"labels.kind={kind}"])
    table = {name: (s, d.str) for name, (s, d) in array_table(card, 7).items()}
    assert table.pop("labels", None) == labels
    assert table == {"a": ((7, 2, 32, 32), "<f4"), "b": ((7, 12, 32, 32), "<u2")}


def test_texts_come_back_in_any_alphabet() -> None:
    texts = ["tile-ü-1", "", "地", "x" * 90]
    stored = encode(texts)
    assert stored.dtype.kind == "S" and decode(stored).tolist() == texts


def test_items_carry_what_scoring_needs(twin_cache: Path) -> None:
    cache = open_cache(twin_cache)
    items = cache.items(np.array([3, 1]))
    assert items.ids.tolist() == cache.ids[[3, 1]].tolist()
    assert np.array_equal(items.labels, cache.labels[[3, 1]]) and items.positions is None
    labels = cache.card.labels.model_copy(update={"kind": "place", "radius_m": 100.0})
    cache.card = cache.card.model_copy(update={"labels": labels})
    cache.positions = np.arange(3.0 * cache.n).reshape(-1, 3)
    placed = cache.items(np.array([3, 1]))
    assert placed.labels is None and placed.radius_m == 100
    assert placed.positions.tolist() == [[9, 10, 11], [3, 4, 5]]
