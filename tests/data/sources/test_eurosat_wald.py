"""EuroSAT by Wald's protocol: on a tar written here, and on the real imagery where it lies."""

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from crbench.cards import load_dataset
from crbench.data.cache.build import build_cache
from crbench.data.cache.reading import open_cache
from crbench.data.cache.verify import verify_cache
from crbench.data.sources import open_source
from crbench.data.sources.eurosat_wald import wald_pair
from crbench.errors import UserError


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


def test_real_eurosat(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    folder = real_data("eurosat_rgb_subset")
    card = load_dataset("eurosat-wald")
    cache = open_cache(build_cache(card, tmp_path / "c.h5", source_dir=folder, quiet=True), card)
    assert cache.n == 5000
    counts = {name: len(cache.rows([name])) for name in ("train", "val", "query", "gallery")}
    assert counts == {"train": 2700, "val": 300, "query": 500, "gallery": 1500}
    assert np.bincount(cache.labels).tolist() == [500] * 10
    assert verify_cache(cache.path, quiet=True)[0] == []
    assert "Wald-simulated" in cache.attributes["/"]["source"]
    assert "area average" in cache.attributes["/"]["resampling"]
