"""Sources of real data: on tiny raw files written here, and on the real imagery where it lies."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat

from crbench.cards import DatasetCard, load_dataset
from crbench.data.cache.build import build_cache, verify_cache
from crbench.data.cache.reading import open_cache
from crbench.data.sources import SOURCES, open_source
from crbench.data.sources.eurosat_wald import wald_pair
from crbench.data.sources.raw import split_by_hash
from crbench.errors import UserError


def landsat_card(scenes: int) -> DatasetCard:
    card = load_dataset("landsat7-pan-ms")
    return card.model_copy(
        update={"labels": card.labels.model_copy(update={"classes": card.labels.classes[:scenes]})}
    )


@pytest.fixture
def landsat(tmp_path: Path) -> Path:
    """Two raw scenes whose pixels say where they are: value = 16 × row of tiles + column."""
    folder = tmp_path / "raw" / "cropped"
    folder.mkdir(parents=True)
    for scene in (1, 2):
        for name, key, side, extra in (
            ("pan", "cropped_gray", 64, ()),
            ("ms", "cropped_im", 32, (6,)),
        ):
            r, c = np.indices((800 * side // 64, 800 * side // 64)) // side
            image = (16 * r + c).astype(np.uint8)
            image = image[..., None] + np.arange(6, dtype=np.uint8) if extra else image
            image[0, 0] = scene
            savemat(folder / f"{scene}_{name}.mat", {key: image})
    return tmp_path / "raw"


def test_landsat_tiles_lie_where_their_ids_say(landsat: Path) -> None:
    source = open_source(landsat_card(2), landsat)
    assert len(source.ids) == 2 * 144
    block = source.read(140, 150)
    assert source.ids[140:146] == [
        *[f"scene01_r11_c{c:02d}" for c in (8, 9, 10, 11)],
        *[f"scene02_r00_c{c:02d}" for c in (0, 1)],
    ]
    assert block.labels.tolist() == [0] * 4 + [1] * 6
    assert (block.a.shape, block.b.shape) == ((10, 1, 64, 64), (10, 6, 32, 32))
    for k in range(4):
        assert (block.a[k] == 16 * 11 + 8 + k).all()
        np.testing.assert_array_equal(block.b[k, :, 7, 9], 16 * 11 + 8 + k + np.arange(6))
    assert block.a[4, 0, 0, 0] == 2


def test_landsat_quadrants_are_kept_apart(landsat: Path) -> None:
    source = open_source(landsat_card(2), landsat)
    split = dict(zip(source.ids, source.split, strict=True))
    assert {split[f"scene01_r{r:02d}_c{c:02d}"] for r in range(6) for c in range(6, 12)} == {
        "query"
    }
    assert {split[f"scene02_r{r:02d}_c{c:02d}"] for r in range(6, 12) for c in range(6)} == {
        "gallery"
    }
    assert source.split.count("val") == round(0.1 * 144)
    assert source.split.count("train") == 144 - round(0.1 * 144)


def test_landsat_raw_files_that_are_damaged(landsat: Path, tmp_path: Path) -> None:
    card = landsat_card(2)
    file = landsat / "cropped" / "2_ms.mat"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"not a readable \.mat") as caught:
        build_cache(card, tmp_path / "c.h5", source_dir=landsat, quiet=True)
    assert str(caught.value.where).endswith("2_ms.mat")
    savemat(file, {"cropped_im": np.zeros((10, 10, 6), np.uint8)})
    with pytest.raises(UserError, match=r"\(10, 10, 6\)"):
        build_cache(card, tmp_path / "c.h5", source_dir=landsat, quiet=True)
    savemat(file, {"other": np.zeros(3)})
    with pytest.raises(UserError, match="'cropped_im' is missing"):
        build_cache(card, tmp_path / "c.h5", source_dir=landsat, quiet=True)
    file.unlink()
    with pytest.raises(UserError, match="a file of a scene is missing"):
        open_source(card, landsat)
    with pytest.raises(UserError, match="2 scenes are there, the card names 39"):
        open_source(load_dataset("landsat7-pan-ms"), landsat)
    assert not (tmp_path / "c.h5").exists()


def test_other_raw_files_start_a_build_anew(landsat: Path, tmp_path: Path) -> None:
    """A part of another copy of the data is not continued: the fingerprint differs."""
    card, file = landsat_card(2), landsat / "cropped" / "2_ms.mat"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1000])
    with pytest.raises(UserError):
        build_cache(card, tmp_path / "c.h5", source_dir=landsat, quiet=True)
    file.write_bytes(whole)
    path = build_cache(card, tmp_path / "c.h5", source_dir=landsat, quiet=True)
    assert verify_cache(path, quiet=True) == []


def jpeg(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


@pytest.fixture
def eurosat(tmp_path: Path) -> Path:
    """A raw tar of 20 images for each class, in an order of no meaning."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "eurosat"
    folder.mkdir()
    classes = load_dataset("eurosat-wald").labels.classes
    with tarfile.open(folder / "images.tar", "w") as archive:
        for n in rng.permutation(200):
            name = classes[n % 10]
            raw = jpeg(
                np.full((64, 64, 3), n, np.uint8) + rng.integers(0, 9, (64, 64, 3), np.uint8)
            )
            member = tarfile.TarInfo(f"{name}/{name}_{n}.jpg")
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))
    return folder


def test_eurosat_is_read_in_place(eurosat: Path) -> None:
    card = load_dataset("eurosat-wald")
    source = open_source(card, eurosat)
    block = source.read(0, 200)
    with tarfile.open(eurosat / "images.tar") as archive:
        for row in (0, 57, 199):
            name = source.ids[row]
            kind = name.split("_")[0]
            raw = archive.extractfile(f"{kind}/{name}.jpg")
            assert raw is not None
            image = np.asarray(Image.open(raw))
            a, b = wald_pair(image)
            np.testing.assert_array_equal(block.a[row], a)
            np.testing.assert_array_equal(block.b[row], b)
            assert card.labels.classes[block.labels[row]] == kind
    for name, count in (("train", 11), ("val", 1), ("query", 2), ("gallery", 6)):
        rows = np.array(source.split) == name
        assert np.bincount(block.labels[rows], minlength=10).tolist() == [count] * 10


def test_wald_pair_is_luminance_and_area_average() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[4:8, 8:12] = [200, 100, 50]
    image[0:4, 0:2] = [255, 255, 255]
    a, b = wald_pair(image)
    assert (a.shape, b.shape) == ((1, 64, 64), (3, 16, 16))
    assert a[0, 5, 9] == round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)
    assert b[:, 1, 2].tolist() == [200, 100, 50]
    assert b[:, 0, 0].tolist() == [128, 128, 128]
    assert b.astype(int).sum() == 350 + 3 * 128


def test_eurosat_raw_files_that_are_damaged(eurosat: Path, tmp_path: Path) -> None:
    card, path = load_dataset("eurosat-wald"), eurosat / "images.tar"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError):
        build_cache(card, tmp_path / "c.h5", source_dir=eurosat, quiet=True)
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo("Moon/Moon_1.jpg")
        archive.addfile(member, io.BytesIO(b""))
    with pytest.raises(UserError, match="Moon_1"):
        open_source(card, eurosat)
    with tarfile.open(path, "w") as archive:
        raw = b"no image"
        for name in card.labels.classes:
            for n in range(20):
                member = tarfile.TarInfo(f"{name}/{name}_{n}.jpg")
                member.size = len(raw)
                archive.addfile(member, io.BytesIO(raw))
    with pytest.raises(UserError, match=r"AnnualCrop_0\.jpg' cannot be read"):
        build_cache(card, tmp_path / "c.h5", source_dir=eurosat, quiet=True)


def test_splits_by_hash_depend_on_ids_and_seed_alone() -> None:
    ids = [f"item{k}" for k in range(101)]
    shares = {"train": 0.54, "val": 0.06, "query": 0.1, "gallery": 0.3}
    one = split_by_hash(ids, shares, 0)
    assert split_by_hash(ids[::-1], shares, 0) == one
    assert split_by_hash(ids, shares, 1) != one
    counts = [list(one.values()).count(name) for name in shares]
    assert sum(counts) == 101
    np.testing.assert_allclose(counts, [54.5, 6.06, 10.1, 30.3], atol=1)


@pytest.mark.parametrize("name", ["landsat7-pan-ms", "eurosat-wald"])
def test_missing_raw_data_say_where_they_were_looked_for(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = load_dataset(name)
    with pytest.raises(UserError, match="the raw data of") as caught:
        open_source(card, tmp_path / "nowhere")
    assert "nowhere" in str(caught.value.where)
    monkeypatch.setenv("CRBENCH_REAL_DATA", str(tmp_path))
    monkeypatch.setattr("crbench.data.sources.raw.PACKAGE", tmp_path / "p" / "crbench")
    with pytest.raises(UserError, match="the raw data of") as caught:
        open_source(card, None)
    assert str(tmp_path / card.source["folder"]) in str(caught.value.where)
    assert "--source" in str(caught.value.fix)


def test_every_shipped_card_names_a_source() -> None:
    from crbench.cards import names

    for name in names("datasets"):
        assert load_dataset(name).source["kind"] in SOURCES


def test_real_landsat(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    folder = real_data("landsat7_pan_ms_fusebox")
    card = load_dataset("landsat7-pan-ms")
    cache = open_cache(build_cache(card, tmp_path / "c.h5", source_dir=folder, quiet=True), card)
    assert cache.n == 5616
    counts = {name: len(cache.rows([name])) for name in ("train", "val", "query", "gallery")}
    assert counts == {"train": 2527, "val": 281, "query": 1404, "gallery": 1404}
    row = cache.ids.tolist().index("scene07_r03_c10")
    ms = loadmat(folder / "cropped" / "7_ms.mat")["cropped_im"]
    pan = loadmat(folder / "cropped" / "7_pan.mat")["cropped_gray"]
    np.testing.assert_array_equal(cache.images("b")[row], ms[96:128, 320:352].transpose(2, 0, 1))
    np.testing.assert_array_equal(cache.images("a")[row, 0], pan[192:256, 640:704])
    assert cache.card.labels.classes[cache.labels[row]] == "scene07"
    assert cache.split[row] == "query"
    alike = [
        np.corrcoef(
            cache.images("a")[r, 0].reshape(32, 2, 32, 2).mean((1, 3)).ravel(),
            cache.images("b")[r, :4].mean(0).ravel(),
        )[0, 1]
        for r in range(0, 5616, 97)
    ]
    assert np.median(alike) > 0.6, "PAN and MS tiles do not show the same ground"


def test_real_eurosat(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    folder = real_data("eurosat_rgb_subset")
    card = load_dataset("eurosat-wald")
    cache = open_cache(build_cache(card, tmp_path / "c.h5", source_dir=folder, quiet=True), card)
    assert cache.n == 5000
    counts = {name: len(cache.rows([name])) for name in ("train", "val", "query", "gallery")}
    assert counts == {"train": 2700, "val": 300, "query": 500, "gallery": 1500}
    assert np.bincount(cache.labels).tolist() == [500] * 10
    assert verify_cache(cache.path, quiet=True) == []
    assert "Wald-simulated" in cache.attributes["/"]["source"]
    assert "area average" in cache.attributes["/"]["resampling"]
