"""DSRSID's file: both orders of axes value for value, in blocks, resumed; and what is refused."""

import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py
import numpy as np
import pytest

from crbench.cards import DatasetCard, load_dataset
from crbench.data.cache.build import build_cache
from crbench.data.cache.reading import open_cache
from crbench.data.cache.verify import verify_cache
from crbench.data.sources import Source, open_source
from crbench.data.sources.user import hdf5
from crbench.errors import UserError
from crbench.files import sha256_file

ORDERS = ("samples first", "samples last")
SMALL = (
    "a.size=[16, 16]", "b.size=[4, 4]", "source.split.of=80", "source.split.counts.query=10",
    "source.split.counts.val=4",
)  # fmt: skip


@pytest.fixture
def card() -> DatasetCard:
    return load_dataset("dsrsid", overrides=SMALL)


def images(n: int, a: int = 16, b: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n)
    return (
        rng.integers(0, 256, (n, 1, a, a), np.uint8),
        rng.integers(0, 256, (n, 4, b, b), np.uint8),
        np.repeat(np.arange(1, 9), -(-n // 8))[:n],
    )


def source(card: DatasetCard, path: Path) -> Source:
    found = open_source(card, path)
    assert isinstance(found, Source)
    return found


@pytest.mark.parametrize("order", ORDERS)
def test_both_orders_give_the_same_cache(
    data: ModuleType, card: DatasetCard, tmp_path: Path, order: str
) -> None:
    a, b, kinds = images(80)
    path = data.dsrsid(tmp_path / "DSRSID.mat", a, b, kinds, order)
    cache = open_cache(build_cache(card, tmp_path / "c.h5", source_dir=path, quiet=True), card)
    np.testing.assert_array_equal(cache.images("a"), a)
    np.testing.assert_array_equal(cache.images("b"), b)
    np.testing.assert_array_equal(cache.labels, kinds - 1)
    assert cache.ids[:2].tolist() == ["dsrsid-00000", "dsrsid-00001"]
    assert Counter(cache.split.tolist()) == {"train": 66, "val": 4, "query": 10}
    assert verify_cache(cache.path, quiet=True)[0] == []
    letters = "(N, C, H, W)" if order == "samples first" else "(W, H, C, N)"
    assert f"PAN_IMAGES {letters}" in source(card, tmp_path).notes[0]


def test_the_splits_of_all_of_dsrsid() -> None:
    from crbench.data.sources.user.splits import draw

    ids = [f"dsrsid-{row:05d}" for row in range(80_000)]
    rule = load_dataset("dsrsid").source["split"]
    split, _ = draw(rule, ids, np.repeat(np.arange(8), 10_000), "dsrsid")
    assert Counter(split) == {"train": 74_000, "val": 1_000, "query": 5_000}


@pytest.mark.parametrize("chunks", [None, (7, 1, 8, 16), (80, 1, 2, 2)])
@pytest.mark.parametrize("order", ORDERS)
def test_blocks_are_bounded_and_follow_chunks(
    data: ModuleType,
    card: DatasetCard,
    tmp_path: Path,
    order: str,
    chunks: tuple[int, ...] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a, b, kinds = images(80)
    path = data.dsrsid(tmp_path / "x.mat", a, b, kinds, order)
    if chunks is not None:  # as MATLAB writes large arrays: in compressed chunks
        last = order == "samples last"
        with h5py.File(path, "r+") as file:
            del file["PAN_IMAGES"]
            file.create_dataset(
                "PAN_IMAGES",
                data=a.transpose() if last else a,
                chunks=chunks[::-1] if last else chunks,
                compression="gzip",
            )
    monkeypatch.setattr(hdf5, "_BLOCK_BYTES", 20 * (256 + 64))
    found = source(card, path)
    most = 20 if order == "samples last" else 256
    along = 1 if chunks is None else chunks[0]
    assert found.rows_per_block == (most // along * along or most)
    cache = open_cache(build_cache(card, tmp_path / "c.h5", source_dir=path, quiet=True))
    np.testing.assert_array_equal(cache.images("a"), a)


@pytest.mark.soak
def test_a_killed_build_goes_on_to_the_same_bytes(
    data: ModuleType, tmp_path: Path, kill_build: Any
) -> None:
    a, b, kinds = images(800, a=64, b=16)
    path = data.dsrsid(tmp_path / "x.mat", a, b, kinds, "samples last")
    code = (
        "import sys, time\n"
        "from crbench.cards import load_dataset\n"
        "from crbench.data.cache.build import build_cache\n"
        "from crbench.data.sources.user import hdf5\n"
        "hdf5._BLOCK_BYTES = 20 * (4096 + 1024)\n"
        "card = load_dataset('dsrsid', overrides=['a.size=[64, 64]', 'b.size=[16, 16]'])\n"
        "build_cache(card, sys.argv[1], source_dir=sys.argv[2], force=True)"
    )

    def python(out: Path) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", code, str(out), str(path)]
        root = Path(__file__).resolve().parents[4]
        return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=root)

    out = tmp_path / "killed.h5"
    assert 3 <= kill_build(python(out), out, 3) < 40
    second = python(out)
    message = second.communicate()[1]
    assert second.returncode == 0, message
    assert "going on with" in message
    fresh = tmp_path / "fresh.h5"
    third = python(fresh)
    assert third.communicate()[1] is not None and third.returncode == 0
    assert sha256_file(out) == sha256_file(fresh)
    np.testing.assert_array_equal(open_cache(out).images("a"), a)


def _broken(path: Path, kind: str) -> None:
    if kind == "cut":
        path.write_bytes(path.read_bytes()[:3000])
        return
    if kind == "old":
        path.write_bytes(b"MATLAB 5.0 MAT-file".ljust(600))
        return
    with h5py.File(path, "r+") as file:
        if kind == "name":
            file.move("PAN_IMAGES", "PAN")
        elif kind == "shape":
            del file["MUL_IMAGES"]
            file["MUL_IMAGES"] = np.zeros((80, 3, 4, 4), np.uint8)
        elif kind == "type":
            pan = file["PAN_IMAGES"][...].astype(np.uint16)
            del file["PAN_IMAGES"]
            file["PAN_IMAGES"] = pan
        elif kind == "label":
            file["LAND_COVER_TYPES"][0, 7] = 9
        elif kind == "half a label":
            file["LAND_COVER_TYPES"][0, 7] = 1.5
        elif kind == "no labels":
            del file["LAND_COVER_TYPES"]
            file["LAND_COVER_TYPES"] = np.zeros((2, 80))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("cut", "no sound HDF5 file"),
        ("old", r"older than v7\.3"),
        ("name", r"no array 'PAN_IMAGES'; there are: LAND_COVER_TYPES .*, PAN uint8"),
        ("shape", "'MUL_IMAGES' is 80×3×4×4 uint8, the card says MS is 4×4×4 uint8"),
        ("type", "'PAN_IMAGES' is 80×1×16×16 uint16, the card says PAN is 1×16×16 uint8"),
        ("label", r"float64 \(80,\), 1 to 9; expected 80 class numbers from 1 to 8"),
        ("half a label", "1 to 8; expected 80 class numbers from 1 to 8"),
        ("no labels", r"float64 \(2, 80\), 0 to 0; expected"),
    ],
)
def test_other_files_are_refused_with_what_was_found(
    data: ModuleType, card: DatasetCard, tmp_path: Path, kind: str, message: str
) -> None:
    path = data.dsrsid(tmp_path / "x.mat", *images(80), "samples first")
    _broken(path, kind)
    with pytest.raises(UserError, match=message) as caught:
        build_cache(card, tmp_path / "c.h5", source_dir=path, quiet=True)
    assert str(path) in str(caught.value.where)
    assert caught.value.fix
    assert not (tmp_path / "c.h5").exists()


def test_the_file_is_named(card: DatasetCard, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no DSRSID\.mat") as caught:
        open_source(card, tmp_path)
    assert "--source FILE" in str(caught.value)
