"""Tiles of scenes: on scenes written here as PNG and GeoTIFF, and on the real imagery."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.warp import transform
from scipy.spatial import cKDTree

from crbench.cards import DatasetCard, load_dataset
from crbench.data.cache.build import build_cache
from crbench.data.cache.reading import open_cache
from crbench.data.cache.verify import verify_cache
from crbench.data.sources import open_source
from crbench.data.sources.scenes.ground import geocentric
from crbench.errors import UserError

SIDE = 4  # tiles along a scene of 32 pixels of a, 16 of b


def mine(**source: Any) -> DatasetCard:
    """A user's card: tiles of 8 and 4 pixels, scenes side by side in a table of their own."""
    card = load_dataset("s1s2-places")
    table = {
        "kind": "scenes", "table": "mine.csv", "crs": "EPSG:3395", "margin_m": 0.0,
        "a": {"file": "sar/{scene}.png", "size": [32, 32]},
        "b": {"file": "opt/{scene}.png", "size": [16, 16]}, "split": {"by": "table"},
    }  # fmt: skip
    return card.model_copy(
        update={
            "name": "mine",
            "a": card.a.model_copy(update={"size": (8, 8)}),
            "b": card.b.model_copy(update={"size": (4, 4)}),
            "protocol": "near", "protocols": {"near": card.protocols["near"]},
            "source": {key: value for key, value in (table | source).items() if value is not None},
        }
    )  # fmt: skip


def pixel(scene: int, row: int, column: int) -> int:
    return 64 * scene + 8 * row + column


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """Three scenes in a row: train, near beside it, and train two scenes further. A pixel says
    where it is: 64 × scene + 8 × row of tiles + column."""
    lines = ["scene,split,date_b,x_min,y_min,x_max,y_max"]
    for k, (name, split, x) in enumerate((("1", "train", 0), ("2", "near", 1), ("3", "train", 4))):
        for sensor, side in (("sar", 32), ("opt", 16)):
            r, c = np.indices((side, side)) // (side // SIDE)
            grey = (64 * k + 8 * r + c).astype(np.uint8)
            image = grey if sensor == "sar" else np.stack([grey, grey + 1, grey + 2], -1)
            path = tmp_path / sensor / f"{name}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(image).save(path)
        lines.append(f"{name},{split},2020-01-0{k + 1},{4000 * x},0,{4000 * x + 4000},4000")
    (tmp_path / "mine.csv").write_text("\n".join(lines), encoding="utf-8")
    return tmp_path


def test_tiles_lie_where_their_ids_say_and_none_touches_another_split(raw: Path) -> None:
    source = open_source(mine(), raw)
    # the right column of scene 1 touches scene 2; scene 3 lies apart
    assert len(source.ids) == 3 * 16 - 4
    assert source.notes == ["tiles dropped, within 0 m of another split's: train 4"]
    assert not [name for name in source.ids if name.startswith("01_") and name.endswith("c03")]
    assert source.ids[:4] == ["01_r00_c00", "01_r00_c01", "01_r00_c02", "01_r01_c00"]
    assert source.groups[:1] == ["01/2020-01-01"] and source.split[:1] == ["train"]
    block = source.read(0, len(source.ids))
    assert block.labels is None
    for k, name in enumerate(source.ids):
        at = pixel(int(name[:2]) - 1, int(name[4:6]), int(name[8:10]))
        assert (block.a[k] == at).all()
        np.testing.assert_array_equal(block.b[k, :, 2, 1], [at, at + 1, at + 2])
    again = source.read(7, 9)
    np.testing.assert_array_equal(again.a, block.a[7:9])


def test_positions_are_metres_on_the_ground_and_stand_in_the_cache(raw: Path) -> None:
    """At the equator Mercator's metres are those on the ground."""
    cache = open_cache(build_cache(mine(), raw / "c.h5", source_dir=raw, quiet=True), mine())
    rows = {name: k for k, name in enumerate(cache.ids)}
    places = cache.positions
    step = np.linalg.norm(places[rows["02_r00_c00"]] - places[rows["02_r00_c01"]])
    down = np.linalg.norm(places[rows["02_r00_c00"]] - places[rows["02_r01_c00"]])
    assert step == pytest.approx(1000, rel=0.01) and down == pytest.approx(1000, rel=0.01)
    assert set(cache.array_digests) == {"a", "b", "ids", "split", "groups", "positions"}
    assert verify_cache(cache.path, quiet=True)[0] == []
    with open(cache.path, "r+b") as file:
        file.seek(cache._spans["positions"][0] + 24 * 5)
        file.write(b"\x01")
    problems = verify_cache(cache.path, quiet=True)[0]
    assert problems == [f"positions: sample '{cache.ids[5]}' (row 5) is damaged"]


def test_a_set_by_place_needs_positions_and_a_margin_the_corners(raw: Path) -> None:
    with pytest.raises(UserError, match="margin_m needs to know where the scenes lie"):
        open_source(mine(crs=None), raw)
    with pytest.raises(UserError, match="does not say where its pairs lie"):
        build_cache(mine(crs=None, margin_m=None), raw / "c.h5", source_dir=raw, quiet=True)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"stride": 0.3}, "no whole number of pixels"),
        ({"b": {"file": "opt/{scene}.png", "size": [24, 24]}}, "a 4 × 4, b 6 × 6"),
        ({"table": "none.csv"}, "no such table"),
        ({"a": {"file": "sar/{scene}.png", "size": [64, 64]}}, "different grids"),
    ],
)
def test_cards_that_do_not_fit_the_data(raw: Path, change: dict[str, Any], match: str) -> None:
    with pytest.raises(UserError, match=match):
        open_source(mine(**change), raw)


def test_a_stride_below_one_gives_tiles_that_overlap(raw: Path) -> None:
    source = open_source(mine(stride=0.5, margin_m=None), raw)
    assert len(source.ids) == 3 * 49
    row = source.ids.index("02_r01_c02")
    tile = source.read(row, row + 1).a[0, 0]
    assert tile[0, 0] == pixel(1, 0, 1) and tile[7, 7] == pixel(1, 1, 1)


def test_scenes_in_quadrants_and_by_hash(raw: Path) -> None:
    quadrants = {"NW": "train", "NE": "near", "SW": "val", "SE": "near"}
    split = {"by": "quadrant", "quadrants": quadrants}
    source = open_source(mine(split=split, margin_m=None), raw)
    parts = dict(zip(source.ids, source.split, strict=True))
    assert (parts["03_r01_c01"], parts["03_r01_c02"], parts["03_r02_c00"]) == (
        "train", "near", "val",
    )  # fmt: skip
    shares = {"train": 0.7, "near": 0.3}
    whole = open_source(mine(split={"by": "scene", "shares": shares}, margin_m=None), raw)
    of_scene = {name[:2]: part for name, part in zip(whole.ids, whole.split, strict=True)}
    assert len({(n[:2], p) for n, p in zip(whole.ids, whole.split, strict=True)}) == 3
    assert sorted(of_scene.values()) == ["near", "train", "train"]


@pytest.mark.parametrize(("kind", "expected"), [("multi", [[0, 1], [1, 1]]), ("single", [1, 0])])
def test_labels_from_a_class_raster(raw: Path, kind: str, expected: list[Any]) -> None:
    """Of tile (0, 0) class 20 covers all but 3 of 64 pixels, of tile (0, 1) a quarter."""
    raster = np.full((32, 32), 10, np.uint8)
    raster[:8, :8] = 20
    raster[0, :3] = 10
    raster[:4, 8:12] = 20
    (raw / "classes").mkdir()
    for name in "123":
        Image.fromarray(raster).save(raw / "classes" / f"{name}.png")
    rule = {"file": "classes/{scene}.png", "size": [32, 32], "values": [10, 20]}
    card = mine(labels=rule)
    labels = {"kind": kind, "classes": ["ten", "twenty"]}
    card = DatasetCard.model_validate(card.to_dict() | {"labels": labels})
    block = open_source(card, raw).read(0, 2)
    assert block.labels.tolist() == expected
    cache = open_cache(build_cache(card, raw / "c.h5", source_dir=raw, quiet=True))
    assert cache.labels[:2].tolist() == expected


def test_a_missing_file_of_a_scene_is_named(raw: Path) -> None:
    (raw / "opt" / "2.png").unlink()
    with pytest.raises(UserError, match="a file of a scene is missing") as caught:
        open_source(mine(), raw)
    assert str(caught.value.where).endswith("2.png")


def test_the_published_archive_reads_as_the_reduced_one(raw: Path, tmp_path: Path) -> None:
    """Twice as fine, and radar with three equal channels: averaged, and one channel taken."""
    small, fine = open_source(mine(), raw), tmp_path / "fine"
    for path in sorted(raw.glob("*/*.png")):
        image = np.asarray(Image.open(path)).repeat(2, 0).repeat(2, 1)
        image = np.stack([image] * 3, -1) if image.ndim == 2 else image
        target = fine / path.relative_to(raw)
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(target)
    (fine / "mine.csv").write_text((raw / "mine.csv").read_text(encoding="utf-8"))
    other = open_source(mine(), fine)
    assert other.ids == small.ids
    for one, two in zip(
        (small.read(0, 9).a, small.read(0, 9).b), (other.read(0, 9).a, other.read(0, 9).b),
        strict=True,
    ):  # fmt: skip
        np.testing.assert_array_equal(one, two)
    sar = np.asarray(Image.open(fine / "sar" / "1.png")).copy()
    sar[0, 0, 1] += 1
    Image.fromarray(sar).save(fine / "sar" / "1.png")
    with pytest.raises(UserError, match="3×64×64"):
        open_source(mine(), fine).read(0, 1)


def test_real_places(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    folder = real_data("s1s2_places")
    card = load_dataset("s1s2-places")
    cache = open_cache(build_cache(card, tmp_path / "c.h5", source_dir=folder, quiet=True), card)
    counts = {name: len(cache.rows([name])) for name in np.unique(cache.split)}
    assert counts == {"train": 2927, "val": 640, "near": 768, "far": 768, "far-rest": 1216}
    assert cache.digest.startswith("82a0ce585948")
    places = {name: cache.positions[cache.rows([name])] for name in counts}
    for name in ("val", "near", "far"):  # tiles are 1,063 m wide: two between the nearest centres
        nearest, _ = cKDTree(places[name]).query(places["train"])
        assert nearest.min() > 2100
    apart, _ = cKDTree(places["near"]).query(places["val"])
    assert apart.min() > 60_000
    gap = np.linalg.norm(places["near"].mean(0) - places["far"].mean(0))
    assert gap == pytest.approx(1.864e6, rel=0.01)
    row = cache.ids.tolist().index("scene145_r02_c05")
    sar = np.asarray(Image.open(folder / "sar" / "145.png"))
    opt = np.asarray(Image.open(folder / "opt" / "145.png"))
    np.testing.assert_array_equal(cache.images("a")[row, 0], sar[128:192, 320:384])
    np.testing.assert_array_equal(cache.images("b")[row], opt[128:192, 320:384].transpose(2, 0, 1))
    assert cache.places[row] == "scene145"


def test_real_test_set_with_land_cover(real_data: Callable[[str], Path], tmp_path: Path) -> None:
    folder = real_data("terramind_s1s2_lulc")
    card = load_dataset("terramind-s1s2")
    cache = open_cache(build_cache(card, tmp_path / "c.h5", source_dir=folder, quiet=True), card)
    assert cache.n == 320 and cache.labels.sum(1).min() >= 1
    row = cache.ids.tolist().index("38D_378R_2_3_r07_c01")
    with rasterio.open(folder / "LULC" / "38D_378R_2_3.tif") as file:
        cover = file.read(1)[196:224, 28:56]
    shares = [(cover == value).mean() for value in card.source["labels"]["values"]]
    assert cache.labels[row].tolist() == [share >= 0.05 for share in shares]
    with rasterio.open(folder / "S1RTC" / "38D_378R_2_3.tif") as file:
        np.testing.assert_array_equal(cache.images("a")[row], file.read()[:, 196:224, 28:56])
        lon, lat = transform(file.crs, "EPSG:4326", *[[x] for x in file.xy(209.5, 41.5)])
    expected = geocentric(np.array(lon), np.array(lat))[0]
    assert np.linalg.norm(cache.positions[row] - expected) < 10
