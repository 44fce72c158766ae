"""Every raw form gives the pixels, pairs, labels and splits that were written into it."""

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from crbench.cards import DatasetCard, load_dataset
from crbench.data.cache.build import build_cache
from crbench.data.cache.reading import cache_info
from crbench.data.cache.verify import verify_cache
from crbench.data.sources import open_source
from crbench.data.sources.bigearthnet import tiff
from crbench.data.sources.bigearthnet.members import canonical, shipped, with_members
from crbench.errors import UserError

FORMS = ("folders", "archives", "v2", "packaged")


@pytest.mark.parametrize("form", FORMS)
def test_a_cache_holds_what_was_written(
    form: str,
    card: DatasetCard,
    made: list[Any],
    data: ModuleType,
    tmp_path: Path,
    build: Any,
    check_against: Any,
) -> None:
    cache = build(card, data.WRITERS[form](tmp_path / "raw", made), tmp_path / "c.h5")
    check_against(cache, made, data)
    assert cache.images("a").dtype == np.float32
    assert cache.images("b").dtype == np.uint16
    assert cache.attributes["/"]["resampling"] == tiff.RESAMPLING
    assert verify_cache(cache.path, quiet=True)[0] == []
    info = cache_info(cache.path)
    assert info["missing"] == 0
    assert any("15 of 15 pairs" in note for note in info["notes"])
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {"raw", "c.h5", "members.txt"}, "scratch files stay behind"


def test_all_forms_give_one_digest(
    card: DatasetCard, made: list[Any], data: ModuleType, tmp_path: Path, build: Any
) -> None:
    """Which form a user has does not matter, nor do other patches in it."""
    extra = data.patches([
        ("S2B_MSIL2A_20170924T93020_69_24", "S1A_IW_GRDH_1SDV_20170925T043256_35VPK_69_24")
    ])  # fmt: skip
    digests = {
        build(
            card, data.WRITERS[form](tmp_path / form, [*made, *extra]), tmp_path / f"{form}.h5"
        ).digest
        for form in FORMS
    }
    assert len(digests) == 1


@pytest.mark.parametrize("form", FORMS)
def test_all_takes_whatever_is_found(
    form: str, made: list[Any], data: ModuleType, tmp_path: Path, build: Any
) -> None:
    other = ("S2B_MSIL2A_20170924T93020_69_24", "S1A_IW_GRDH_1SDV_20170925T043256_35VPK_69_24")
    extra = data.patches(
        [other, ("S2B_MSIL2A_20170924T93020_7_2", other[1].replace("69_24", "7_2"))]
    )
    card = load_dataset("ben-14k", overrides=("a.size=[12, 12]", "b.size=[12, 12]"))
    card = with_members(card, "all")
    cache = build(card, data.WRITERS[form](tmp_path / "raw", [*extra, *made]), tmp_path / "c.h5")
    assert cache.ids.tolist() == sorted(canonical(p.s2) for p in [*extra, *made])
    known = shipped().split
    rows = cache.ids.tolist()
    for name in rows:
        assert cache.split[rows.index(name)] == known.get(name, cache.split[rows.index(name)])
    row = rows.index("S2B_MSIL2A_20170924T093020_69_24")
    np.testing.assert_array_equal(cache.images("a")[row, 0], extra[0].bands["VV"])
    assert "all" in cache.card.note
    assert any("2 of them are in no list" in note for note in cache_info(cache.path)["notes"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: raw[:200], "not a readable GeoTIFF"),
        (lambda raw: b"no image", "not a readable GeoTIFF"),
        ("int16", "expected 1 × uint16"),
        ("side", r"\(7, 7\), expected 1 × uint16 \(12, 12\)"),
    ],
)
def test_bands_that_are_damaged_or_others(
    change: Any, message: str, card: DatasetCard, made: list[Any], data: ModuleType, tmp_path: Path
) -> None:
    raw = data.write_v1(tmp_path / "raw", made)
    path = raw / "BigEarthNet-v1.0" / made[3].s2 / f"{made[3].s2}_B03.tif"
    content = path.read_bytes()
    if change == "int16":
        content = data.geotiff(made[3].bands["B03"].astype(np.int16))
    elif change == "side":
        content = data.geotiff(np.zeros((7, 7), np.uint16))
    else:
        content = change(content)
    path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        build_cache(card, tmp_path / "c.h5", source_dir=raw, quiet=True)
    assert str(caught.value.where) == str(path)
    assert not (tmp_path / "c.h5").exists()


def test_tables_that_are_damaged(
    card: DatasetCard, made: list[Any], data: ModuleType, tmp_path: Path
) -> None:
    v2, packaged = data.write_v2(tmp_path / "v2", made), data.write_packaged(tmp_path / "p", made)
    path = v2 / "metadata.parquet"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(UserError, match="not a readable table of BigEarthNet v2"):
        open_source(card, v2)
    (packaged / "benv1_14k" / "benv1_14k_dataset_master_labels.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match="its columns are S1_ID"):
        open_source(card, packaged)


def test_folders_that_hold_nothing_or_too_much(
    card: DatasetCard, made: list[Any], data: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no raw data of BigEarthNet are here") as caught:
        open_source(card, tmp_path / "empty")
    assert "crbench cache build ben-14k --source DIR" in str(caught.value.fix)
    (tmp_path / "empty" / "BigEarthNet-S1.tar.zst").touch()
    with pytest.raises(UserError, match="no raw data") as caught:
        open_source(card, tmp_path / "empty")
    assert "unpack" in str(caught.value.fix)
    with pytest.raises(UserError, match="are not there"):
        open_source(card, tmp_path / "nowhere")
    with pytest.raises(UserError, match="are needed") as caught:
        open_source(card, None)
    assert "bigearth.net" in str(caught.value.fix)
    data.write_v2(tmp_path / "both", made[:2])
    data.write_packaged(tmp_path / "both", made[:2])
    with pytest.raises(UserError, match="more than one set"):
        open_source(card, tmp_path / "both")
    twice = data.write_v1(tmp_path / "twice", made)
    zeroless = made[0].s2.replace("T0", "T")
    assert zeroless != made[0].s2
    (twice / "BigEarthNet-v1.0" / zeroless).mkdir()
    with pytest.raises(UserError, match="are one patch"):
        open_source(card, twice)
