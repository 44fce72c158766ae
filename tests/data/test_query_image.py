"""Queries from files: every format gives the same pixels, and a file can do no harm."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import zlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import rasterio
from PIL import Image

from crbench.cards import ModalityCard
from crbench.data.query_image import ENDINGS, read_query
from crbench.data.sources.bigearthnet.tiff import reading
from crbench.data.sources.user.images import LEAST_ROOM, room
from crbench.errors import UserError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def bombs() -> ModuleType:
    spec = importlib.util.spec_from_file_location("bombs", Path(__file__).with_name("bombs.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def card(bands: int = 3, dtype: str = "uint8", use: list[str] | None = None) -> ModalityCard:
    names = [f"B{k:02}" for k in range(1, bands + 1)]
    return ModalityCard(
        name="S2", sensor="Sentinel-2", bands=names, use=use, size=(16, 24), dtype=dtype,
        units="DN", display=names[:1],
    )  # fmt: skip


def pixels(bands: int = 3, dtype: str = "uint8") -> np.ndarray:
    return np.random.default_rng(0).integers(0, 250, (bands, 16, 24)).astype(dtype)


def geotiff(path: Path, image: np.ndarray, names: list[str] | None = None) -> Path:
    bands, height, width = image.shape
    shape = {"count": bands, "height": height, "width": width, "dtype": image.dtype}
    with reading(), rasterio.open(path, "w", driver="GTiff", compress="deflate", **shape) as file:
        file.write(image)
        if names:
            file.descriptions = names
    return path


@pytest.mark.parametrize("ending", [".tif", ".TIFF", ".png", ".npy", ".npz"])
def test_every_format_gives_the_same_pixels(tmp_path: Path, ending: str) -> None:
    image, path = pixels(), tmp_path / f"query{ending}"
    if ending.lower().startswith(".tif"):
        geotiff(path, image)
    elif ending == ".png":
        Image.fromarray(image.transpose(1, 2, 0)).save(path)
    elif ending == ".npy":
        np.save(path, np.asfortranarray(image))
    else:
        np.savez_compressed(path, x=image.transpose(1, 2, 0))
    np.testing.assert_array_equal(read_query(path, card()), image)
    few = read_query(path, card(use=["B03", "B01"]))
    np.testing.assert_array_equal(few, image[[2, 0]])
    bytes_alone = read_query(Path("nowhere") / path.name, card(), path.read_bytes())
    np.testing.assert_array_equal(bytes_alone, image)


def test_a_jpeg_is_what_pillow_decodes(tmp_path: Path) -> None:
    Image.fromarray(pixels().transpose(1, 2, 0)).save(tmp_path / "q.jpeg", quality=95)
    want = np.asarray(Image.open(tmp_path / "q.jpeg")).transpose(2, 0, 1)
    np.testing.assert_array_equal(read_query(tmp_path / "q.jpeg", card()), want)


def test_described_bands_are_taken_by_name(tmp_path: Path) -> None:
    image = pixels(4, "uint16")
    path = geotiff(tmp_path / "q.tif", image, ["B03", "SCL", "B01", "B02"])
    np.testing.assert_array_equal(read_query(path, card(3, "uint16")), image[[2, 3, 0]])
    np.testing.assert_array_equal(read_query(path, card(3, "uint16", ["B03"])), image[[0]])
    with pytest.raises(UserError, match="S2 needs the bands B04, the file has B03, SCL, B01, B02"):
        read_query(path, card(4, "uint16"))


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (pixels()[:, :8], "the image is 3×8×24 uint8, the card says S2 is 3×16×24 uint8"),
        (pixels(2), "the image is 2×16×24 uint8"),
        (pixels(3, "float32"), "the image is 3×16×24 float32"),
        (pixels().astype(">u2"), "the image is 3×16×24 >u2"),
    ],
)
def test_another_size_or_type_names_both(tmp_path: Path, image: np.ndarray, message: str) -> None:
    np.save(tmp_path / "q.npy", image)
    with pytest.raises(UserError, match=message) as caught:
        read_query(tmp_path / "q.npy", card())
    assert "3 bands of 16×24 pixels as uint8" in str(caught.value.fix)


@pytest.mark.parametrize("name", ["q.txt", "q", "q.vrt", "q.npy.gz", "q.h5", ".tif"])
def test_other_endings_are_not_opened(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="is no ending of an image") as caught:
        read_query(tmp_path / name, card())
    assert all(ending in str(caught.value.fix) for ending in ENDINGS)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npy")
    (tmp_path / "zero.npy").symlink_to("/dev/zero")
    (tmp_path / "folder.npy").mkdir()
    for name in ("pipe", "zero", "folder", "nothing"):
        with pytest.raises(UserError, match="no such file"):
            read_query(tmp_path / f"{name}.npy", card())


def test_a_file_larger_than_any_image_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "q.tif").open("wb") as file:
        file.truncate(2 * 2**30)
    with pytest.raises(UserError, match=f"the file has over {LEAST_ROOM:,} bytes"):
        read_query(tmp_path / "q.tif", card())
    with pytest.raises(UserError, match=f"the file has over {LEAST_ROOM:,} bytes"):
        read_query(Path("q.tif"), card(), bytes(LEAST_ROOM + 1))
    large = card().model_copy(update={"size": (8000, 8000)})
    assert room(large) == 2 * 3 * 8000 * 8000


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_files_beside_a_geotiff_are_not_read(tmp_path: Path) -> None:
    """Neither names nor pixels come from sidecars, which GDAL follows where it may."""
    image = pixels()
    path = geotiff(tmp_path / "q.tif", image)
    bands = "".join(
        f'<PAMRasterBand band="{k}"><Description>B0{4 - k}</Description></PAMRasterBand>'
        for k in (1, 2, 3)
    )
    Path(f"{path}.aux.xml").write_text(f"<PAMDataset>{bands}</PAMDataset>")
    with rasterio.open(path) as followed:
        assert followed.descriptions == ("B03", "B02", "B01")
    np.testing.assert_array_equal(read_query(path, card()), image)


PEAK = """
import json, resource, sys
from pathlib import Path
from crbench.cards import ModalityCard
from crbench.data.query_image import read_query
from crbench.errors import UserError
card = ModalityCard.model_validate_json(sys.argv[1])
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in map(Path, sys.argv[2:]):
    before, said = peak(), None
    try:
        read_query(path, card)
    except UserError as error:
        said = str(error)
    print(json.dumps([path.name, peak() - before, said]))
"""


def test_bombs_are_refused_in_little_memory(bombs: ModuleType, tmp_path: Path) -> None:
    """Every one in a process of its own making, which reads good files first to load libraries."""
    good = [geotiff(tmp_path / "good.tif", pixels()), tmp_path / "good.png", tmp_path / "good.npz"]
    Image.fromarray(pixels().transpose(1, 2, 0)).save(good[1])
    np.savez(good[2], pixels())
    made = bombs.bombs((3, 16, 24), "uint8", good[0])
    named = geotiff(tmp_path / "named.tif", np.zeros((5000, 16, 24), np.uint8),
                    [f"B{k:02}" for k in range(5000)])  # fmt: skip
    for name, (data, _) in made.items():
        (tmp_path / name).write_bytes(data)
        assert len(data) < 3e6, name
    paths = [*good, named, *(tmp_path / name for name in made)]
    done = subprocess.run(
        [sys.executable, "-c", PEAK, card().model_dump_json(), *map(str, paths)],
        capture_output=True, text=True, cwd=ROOT, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = {name: (grown, said) for name, grown, said in map(json.loads, done.stdout.splitlines())}
    assert len(found) == len(paths)
    for path in good:
        assert found[path.name][1] is None
    for name, (_, message) in made.items():
        grown, said = found[name]
        assert said is not None and message in said, (name, said)
        assert f"where: {tmp_path / name}" in said and "fix: " in said
        assert grown * 1024 < 2 * LEAST_ROOM, (name, grown)  # what may be decoded, and its decoder


def test_a_geotiff_of_many_named_bands_is_bounded(tmp_path: Path) -> None:
    many = [f"B{k:02}" for k in range(1, 301)]
    path = geotiff(tmp_path / "many.tif", pixels(300), many)
    assert read_query(path, card()).shape == (3, 16, 24)
    wide = card().model_copy(update={"size": (1000, 1000)})
    path = geotiff(tmp_path / "wide.tif", np.zeros((80, 1000, 1000), np.uint8), many[:80])
    with pytest.raises(UserError, match="its 80 bands take 80,000,000 bytes, an image at most"):
        read_query(path, wide)


@pytest.mark.parametrize(
    ("claims", "message"),
    [
        ({"tile": 32768}, "its tiles are larger than any image"),
        ({"offset": 2**31}, "not a readable image"),
    ],
)
def test_what_a_geotiff_points_to_is_checked(
    bombs: ModuleType, tmp_path: Path, claims: dict[str, int], message: str
) -> None:
    """Tiles that would be decoded whole for a small image, and pixels outside of the file."""
    data = bombs.tiff(24, 16, zlib.compress(bytes(24 * 16)))
    assert read_query(Path("q.tif"), card(1), data).shape == (1, 16, 24)
    (tmp_path / "q.tif").write_bytes(bombs.tiff(24, 16, zlib.compress(bytes(2**20)), **claims))
    with pytest.raises(UserError, match=message):
        read_query(tmp_path / "q.tif", card(1))
