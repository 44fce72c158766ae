"""Images of scenes: every kind of file, finer copies averaged, and what does not fit refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from scipy.io import savemat

from crbench.cards import ModalityCard
from crbench.data.sources.scenes.images import read_scene, scene_extent, scene_names
from crbench.errors import UserError


def modality(bands: int = 1, side: int = 8, dtype: str = "uint8") -> ModalityCard:
    names = [f"B{k}" for k in range(bands)]
    return ModalityCard(
        name="M", sensor="s", bands=names, size=(side, side), dtype=dtype, units="1",
        display=names[:1],
    )  # fmt: skip


def pixels(bands: int = 1, side: int = 8) -> np.ndarray:
    return np.random.default_rng(bands).integers(0, 255, (bands, side, side)).astype(np.uint8)


def geotiff(path: Path, image: np.ndarray, crs: str | None = "EPSG:32611") -> Path:
    profile = {"driver": "GTiff", "count": len(image), "height": image.shape[1]}
    profile |= {"width": image.shape[2], "dtype": image.dtype, "crs": crs}
    place = rasterio.Affine(10, 0, 400_000, 0, -10, 3_700_000)
    with rasterio.open(path, "w", transform=place, **profile) as file:
        file.write(image)
    return path


def test_every_kind_of_file_gives_its_values(tmp_path: Path) -> None:
    grey, colour = pixels(1), pixels(3)
    Image.fromarray(grey[0]).save(tmp_path / "a.png")
    Image.fromarray(np.repeat(grey, 3, 0).transpose(1, 2, 0)).save(tmp_path / "three.png")
    Image.fromarray(colour.transpose(1, 2, 0)).save(tmp_path / "b.png")
    np.save(tmp_path / "b.npy", colour)
    geotiff(tmp_path / "b.tif", colour)
    savemat(tmp_path / "a.mat", {"pan": grey[0]})
    savemat(tmp_path / "b.mat", {"ms": colour.transpose(1, 2, 0)})
    for name in ("a.png", "three.png", "a.mat"):  # three equal channels are one
        np.testing.assert_array_equal(read_scene(tmp_path / name, modality(1), "pan"), grey)
    for name in ("b.png", "b.npy", "b.tif", "b.mat"):
        np.testing.assert_array_equal(read_scene(tmp_path / name, modality(3), "ms"), colour)


def test_a_finer_image_is_averaged(tmp_path: Path) -> None:
    fine = pixels(3, 16)
    Image.fromarray(fine.transpose(1, 2, 0)).save(tmp_path / "b.png")
    coarse = read_scene(tmp_path / "b.png", modality(3))
    exact = fine.astype(float).reshape(3, 8, 2, 8, 2).mean((2, 4))
    assert coarse.dtype == np.uint8 and np.abs(coarse - exact).max() <= 0.5
    np.save(tmp_path / "f.npy", fine.astype(np.float32))
    np.testing.assert_allclose(
        read_scene(tmp_path / "f.npy", modality(3, dtype="float32")), exact, rtol=1e-6
    )


def test_another_dtype_is_taken_where_nothing_is_lost(tmp_path: Path) -> None:
    np.save(tmp_path / "wide.npy", np.full((1, 8, 8), 0.5))
    read = read_scene(tmp_path / "wide.npy", modality(dtype="float32"))
    assert read.dtype == np.float32 and (read == 0.5).all()
    np.save(tmp_path / "lost.npy", np.full((1, 8, 8), 0.1))
    with pytest.raises(UserError, match="values that float32 does not hold"):
        read_scene(tmp_path / "lost.npy", modality(dtype="float32"))
    np.save(tmp_path / "big.npy", np.full((1, 8, 8), 300))
    with pytest.raises(UserError, match="values that uint8 does not hold"):
        read_scene(tmp_path / "big.npy", modality())


@pytest.mark.parametrize(
    ("name", "image", "match"),
    [
        ("a.npy", np.zeros((2, 8, 8), np.uint8), "2×8×8 uint8, the card says M is 1×8×8"),
        ("a.npy", np.zeros((1, 12, 12), np.uint8), "1×12×12"),
        ("a.npy", np.zeros((1, 8, 16), np.uint8), "1×8×16"),
        ("a.npy", np.zeros((1, 4, 4), np.uint8), "1×4×4"),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path, name: str, image: np.ndarray, match: str
) -> None:
    np.save(tmp_path / name, image)
    with pytest.raises(UserError, match=match):
        read_scene(tmp_path / name, modality())


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.mat").write_bytes(b"MATLAB 5.0 MAT-file, cut")
    (tmp_path / "a.bmp").write_bytes(b"BM")
    savemat(tmp_path / "b.mat", {"pan": pixels()[0]})
    for name, match in (
        ("a.mat", "not a readable .mat"), ("a.bmp", "no kind of image"),
        ("b.mat", "'' is missing"), ("none.mat", "no such file"), ("none.png", "no such file"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=match) as caught:
            read_scene(tmp_path / name, modality())
        assert name in str(caught.value.where)


def test_a_geotiff_says_where_it_lies(tmp_path: Path) -> None:
    path = geotiff(tmp_path / "a.tif", pixels())
    extent = scene_extent(path, modality())
    assert extent is not None and rasterio.CRS.from_wkt(extent[0]).to_epsg() == 32611
    assert extent[1] == (400_000, 3_699_920, 400_080, 3_700_000)
    assert scene_extent(geotiff(tmp_path / "b.tif", pixels(), None), modality()) is None
    assert scene_extent(tmp_path / "a.png", modality()) is None


def test_scenes_are_found_by_their_files(tmp_path: Path) -> None:
    (tmp_path / "x[1]").mkdir()
    for name in ("10", "9", "b"):
        (tmp_path / "x[1]" / f"{name}_pan.png").touch()
    (tmp_path / "x[1]" / "9_ms.png").touch()
    assert scene_names(tmp_path, "x[1]/{scene}_pan.png") == ["10", "9", "b"]
    (tmp_path / "x[1]" / "b_pan.png").unlink()
    assert scene_names(tmp_path, "x[1]/{scene}_pan.png") == ["9", "10"]
    assert scene_names(tmp_path, "y/{scene}.png") == []
