"""Landsat-7 tiles: on tiny raw scenes written here, and on the real imagery where it lies."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from crbench.cards import DatasetCard, load_dataset
from crbench.data.cache.build import build_cache
from crbench.data.cache.reading import open_cache
from crbench.data.cache.verify import verify_cache
from crbench.data.sources import open_source
from crbench.data.sources.landsat7 import as_scenes
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
    with pytest.raises(UserError, match=r"10×10×6 uint8, the card says MS is 6×400×400 uint8"):
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
    assert verify_cache(path, quiet=True)[0] == []


def test_the_old_kind_of_source_gives_the_same_pairs(landsat: Path, tmp_path: Path) -> None:
    """Caches made with it open, a build with the card of today takes them as its own, and the card
    in a record of that time still builds."""
    card = landsat_card(2)
    old = card.model_copy(
        update={"source": {"kind": "landsat7", "folder": "x", "seed": 0, "val_share": 0.1}}
    )
    assert as_scenes(old).source | {"folder": card.source["folder"]} == card.source
    assert as_scenes(card) is card
    paths = [tmp_path / "old.h5", tmp_path / "new.h5"]
    for each, path in zip((old, card), paths, strict=True):
        build_cache(each, path, source_dir=landsat, quiet=True)
    one, other = (open_cache(path, card) for path in paths)
    assert one.digest == other.digest and one.card.source == other.card.source
    named = old.model_copy(update={"source": {**old.source, "folder": card.source["folder"]}})
    build_cache(named, paths[0], source_dir=landsat, quiet=True, force=True)
    build_cache(card, paths[0], source_dir=landsat, quiet=True)  # there already, and kept
    other_seed = {**old.source, "seed": 1}
    with pytest.raises(UserError, match="another"):
        changed = old.model_copy(update={"source": other_seed})
        build_cache(changed, paths[0], source_dir=landsat, quiet=True)


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
