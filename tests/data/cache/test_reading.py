"""Opening and verifying: a damaged or foreign file is refused, and the damage has a name."""

import json
import pickle
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from crbench.cards import DatasetCard, load_dataset
from crbench.data.cache import layout
from crbench.data.cache.reading import Cache, cache_info, check_bands, default_path, open_cache
from crbench.data.cache.verify import verify_cache
from crbench.errors import UserError


@pytest.fixture
def copy(twin_cache: Path, tmp_path: Path) -> Path:
    """A cache of its own for a test to damage."""
    return Path(shutil.copy(twin_cache, tmp_path / "ben-14k-twin.h5"))


def flip(path: Path, offset: int, bit: int = 1) -> None:
    """Flip one bit of the file."""
    with open(path, "r+b") as handle:
        handle.seek(offset)
        byte = handle.read(1)[0]
        handle.seek(offset)
        handle.write(bytes([byte ^ bit]))


def row_offset(path: Path, name: str, row: int) -> int:
    offset, dtype, shape = layout.spans(path)[name]
    return offset + row * int(np.prod(shape[1:], dtype=int)) * dtype.itemsize


@pytest.mark.parametrize("name", ["a", "b", "labels", "ids", "split"])
@pytest.mark.parametrize("row", [0, 77, 159])
def test_a_flipped_bit_is_named_by_array_and_sample(copy: Path, name: str, row: int) -> None:
    flip(copy, row_offset(copy, name, row), 1)
    problems = verify_cache(copy, quiet=True)[0]
    assert any(problem.startswith(f"{name}: sample ") for problem in problems), problems
    assert any(f"(row {row}) is damaged" in problem for problem in problems)
    assert all(f"(row {row})" in problem for problem in problems)


def test_many_damaged_samples_are_counted(copy: Path) -> None:
    for row in range(30):
        flip(copy, row_offset(copy, "a", row) + 5)
    problems = verify_cache(copy, quiet=True)[0]
    assert len(problems) == 11
    assert problems[-1] == "a: and 20 more samples"


def test_a_flipped_bit_in_a_stored_digest_is_told_apart(copy: Path) -> None:
    with h5py.File(copy) as file:
        offset = file["checks/b"].id.get_offset()
    flip(copy, offset + 8 * 12)
    (problem,) = verify_cache(copy, quiet=True)[0]
    assert "(row 12) is sound" in problem


@pytest.mark.parametrize(
    ("where", "key", "value"),
    [("a", "mean", np.array([0.0, 1.0])), ("/", "source", "elsewhere"), ("b", "units", "dB")],
)
def test_changed_attributes_are_found(copy: Path, where: str, key: str, value: object) -> None:
    with h5py.File(copy, "r+") as file:
        file[where].attrs[key] = value
    problems, _ = verify_cache(copy, quiet=True)
    assert problems == ["the attributes (card, bands, statistics) are damaged"]


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


def test_labels_out_of_range_are_found(copy: Path) -> None:
    with open(copy, "r+b") as handle:
        handle.seek(row_offset(copy, "labels", 4))
        handle.write(b"\x07")
    assert any("label outside 0 to 1" in problem for problem in verify_cache(copy, quiet=True)[0])


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


def test_flips_outside_the_arrays_are_refused_found_or_harmless(copy: Path) -> None:
    """Structure and attributes of the file: HDF5's checksums, ours, or bytes that nobody reads."""
    raw = copy.read_bytes()
    used = np.zeros(len(raw), dtype=bool)
    for offset, dtype, shape in layout.spans(copy).values():
        used[offset : offset + int(np.prod(shape)) * dtype.itemsize] = True
    sound = open_cache(copy)
    outcomes = {"refused": 0, "found": 0, "harmless": 0}
    rng = np.random.default_rng(0)
    for offset in rng.choice(np.flatnonzero(~used), 60, replace=False):
        copy.write_bytes(raw)
        flip(copy, int(offset), 1 << int(rng.integers(8)))
        try:
            problems = verify_cache(copy, quiet=True)[0]
        except UserError:
            outcomes["refused"] += 1
            continue
        outcomes["found" if problems else "harmless"] += 1
        if not problems:
            again = open_cache(copy)
            assert (again.digest, again.card) == (sound.digest, sound.card)
            assert again.stats("b")["mean"].tolist() == sound.stats("b")["mean"].tolist()
    assert outcomes["refused"] > outcomes["harmless"]
