"""Every raw form gives the pixels, pairs, labels and splits that were written into it."""

import shutil
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from crbench.cards import DatasetCard, load_dataset
from crbench.data.cache.build import build_cache
from crbench.data.cache.reading import Cache, cache_info, open_cache
from crbench.data.cache.verify import verify_cache
from crbench.data.sources import open_source
from crbench.data.sources.bigearthnet import tiff
from crbench.data.sources.bigearthnet.members import canonical, shipped, with_members
from crbench.errors import UserError

FORMS = ("folders", "archives", "v2", "packaged")


def build(card: DatasetCard, folder: Path, out: Path) -> Cache:
    return open_cache(build_cache(card, out, source_dir=folder, quiet=True), card)


def exact(pixels: np.ndarray, factor: int) -> list[list[Fraction]]:
    """Bilinear enlargement with half-pixel centres and held edges, in fractions."""

    def line(values: list[Fraction]) -> list[Fraction]:
        result = []
        for k in range(factor * len(values)):
            at = min(max(Fraction(2 * k + 1, 2 * factor) - Fraction(1, 2), 0), len(values) - 1)
            left = int(at)
            right = min(left + 1, len(values) - 1)
            result.append(values[left] * (1 - (at - left)) + values[right] * (at - left))
        return result

    rows = [line([Fraction(int(value)) for value in row]) for row in pixels]
    columns = [line(list(column)) for column in zip(*rows, strict=True)]
    return [list(row) for row in zip(*columns, strict=True)]


def check_against(cache: Cache, made: list[Any], data: ModuleType) -> None:
    """Every value of the cache is one that was written, or exactly between those that were."""
    by_id = {canonical(patch.s2): patch for patch in made}
    assert sorted(cache.ids) == sorted(by_id)
    known = shipped()
    a, b = cache.card.a.bands, cache.card.b.bands
    for row, name in enumerate(cache.ids):
        patch = by_id[name]
        for channel, band in enumerate(a):
            np.testing.assert_array_equal(cache.images("a")[row, channel], patch.bands[band])
        for channel, band in enumerate(b):
            found = cache.images("b")[row, channel]
            if data.SIDES[band] == 1:
                np.testing.assert_array_equal(found, patch.bands[band])
            else:
                wanted = exact(patch.bands[band], data.SIDES[band])
                off = [abs(x - int(y)) for xs, ys in zip(wanted, found, strict=True)
                       for x, y in zip(xs, ys, strict=True)]  # fmt: skip
                assert max(off) <= Fraction(1, 2)
        classes = {cache.card.labels.classes[k] for k in np.flatnonzero(cache.labels[row])}
        assert classes == set(data.CLASSES[patch.kind])
        assert cache.split[row] == known.split[name]
        assert cache.groups[row] == f"{patch.s1.split('_')[5]}/{patch.s2.split('_')[2][:8]}"


@pytest.mark.parametrize("form", FORMS)
def test_a_cache_holds_what_was_written(
    form: str, card: DatasetCard, made: list[Any], data: ModuleType, tmp_path: Path
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
    card: DatasetCard, made: list[Any], data: ModuleType, tmp_path: Path
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
    form: str, made: list[Any], data: ModuleType, tmp_path: Path
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


def test_a_missing_patch_is_named_and_counted(
    card: DatasetCard, made: list[Any], data: ModuleType, tmp_path: Path
) -> None:
    raw = data.write_v1(tmp_path / "raw", made)
    ids = [canonical(name) for name in sorted(patch.s2 for patch in made)]  # as in the list
    gone, cut = made[0], made[5]
    shutil.rmtree(raw / "BigEarthNet-S1-v1.0" / gone.s1)
    (raw / "BigEarthNet-v1.0" / cut.s2 / f"{cut.s2}_B8A.tif").write_bytes(b"")
    with pytest.raises(UserError, match="2 of 15 patches are missing") as caught:
        build_cache(card, tmp_path / "c.h5", source_dir=raw, quiet=True)
    assert all(canonical(patch.s2) in caught.value.what for patch in (gone, cut))
    assert "--allow-missing" in str(caught.value.fix)
    assert not (tmp_path / "c.h5").exists()
    some = with_members(card, str(tmp_path / "members.txt"), allow_missing=True)
    cache = build(some, raw, tmp_path / "c.h5")
    assert cache.ids.tolist() == [
        name for name in ids if name not in (canonical(gone.s2), canonical(cut.s2))
    ]
    check_against(cache, [patch for patch in made if patch not in (gone, cut)], data)
    assert cache_info(cache.path)["missing"] == 2
    assert "missing" in cache.card.note


def test_bands_follow_their_names(
    card: DatasetCard, made: list[Any], data: ModuleType, tmp_path: Path
) -> None:
    """A card with other bands in another order gets them: VH, VV and ten of twelve."""
    ten = [name for name in card.b.bands if name not in ("B01", "B09")][::-1]
    other = card.model_copy(
        update={
            "a": card.a.model_copy(update={"bands": ["VH", "VV"]}),
            "b": card.b.model_copy(update={"bands": ten, "mean": None, "std": None}),
        }
    )
    raw = data.write_v1(tmp_path / "raw", made)
    for patch in made:  # what is not asked for may be absent
        (raw / "BigEarthNet-v1.0" / patch.s2 / f"{patch.s2}_B01.tif").unlink()
    check_against(build(other, raw, tmp_path / "c.h5"), made, data)


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


def test_metadata_that_are_damaged_or_others(
    card: DatasetCard, made: list[Any], data: ModuleType, tmp_path: Path
) -> None:
    raw = data.write_v1(tmp_path / "raw", made)
    s2 = raw / "BigEarthNet-v1.0" / made[3].s2 / f"{made[3].s2}_labels_metadata.json"
    s1 = raw / "BigEarthNet-S1-v1.0" / made[3].s1 / f"{made[3].s1}_labels_metadata.json"
    whole = s2.read_text()
    for text, message in (
        ("{", "not a JSON file"),
        ("[1]", "no table"),
        ('{"coordinates": {}}', "no 'labels'"),
        ('{"labels": ["Pasture"]}', "unknown label 'Pasture'"),
    ):
        s2.write_text(text)
        with pytest.raises(UserError, match=message):
            build_cache(card, tmp_path / "c.h5", source_dir=raw, quiet=True)
    s2.write_text(whole)
    s1.write_text(s1.read_text().replace(made[3].s2, made[4].s2))
    with pytest.raises(UserError, match=f"belongs to '{made[4].s2}'"):
        build_cache(card, tmp_path / "c.h5", source_dir=raw, quiet=True)


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
