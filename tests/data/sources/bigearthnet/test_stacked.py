"""The stacked BEN-14K: a fake of the layout that is passed around, read value for value."""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
from typer.testing import CliRunner

from crbench.cards import DatasetCard, load_dataset
from crbench.cli import app
from crbench.data.cache.build import build_cache
from crbench.data.cache.reading import open_cache
from crbench.data.sources import open_source
from crbench.data.sources.bigearthnet.order import STACKED
from crbench.errors import UserError

pa = pytest.importorskip("pyarrow")
SIDE = 12
SHAPE = np.array([366, 637, 495, 1018, 2534, 3034, 3157, 3265, 1778, 1004.0])  # over vegetation
SPLITS = {"train": 9, "validation": 4, "test": 5}
LABELS = (["Arable land"], ["Mixed forest", "Pastures"], ["Inland waters"])


def card(name: str = "ben-14k-10") -> DatasetCard:
    return load_dataset(name, overrides=[f"a.size=[{SIDE}, {SIDE}]", f"b.size=[{SIDE}, {SIDE}]"])


def tiff(pixels: np.ndarray) -> bytes:
    with rasterio.MemoryFile() as memory:
        with memory.open(
            driver="GTiff", count=len(pixels), height=SIDE, width=SIDE, dtype=pixels.dtype
        ) as file:
            file.write(pixels)
        return bytes(memory.read())


class Fake:
    """The set on disk: files by their path in it, and what they hold by patch."""

    def __init__(self, radar: tuple[int, int] = (0, 1), bands: list[int] | None = None) -> None:
        self.files: dict[str, bytes] = {}
        self.pixels: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        self.split: dict[str, str] = {}
        self.labels: dict[str, list[str]] = {}
        self.s1: dict[str, str] = {}
        rng = np.random.default_rng(0)
        for split, count in SPLITS.items():
            for k in range(count):
                s2 = f"S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_{len(self.split)}_{k}"
                s1 = f"S1A_IW_GRDH_1SDV_20170613T165043_33UUP_{len(self.split)}_{k}"
                optical = (SHAPE[:, None, None] * rng.uniform(0.8, 1.2, (10, SIDE, SIDE))).astype(
                    "u2"
                )
                vv = rng.normal(-12, 2, (SIDE, SIDE))
                levels = np.stack([vv, vv - 6.5 + rng.normal(0, 1, vv.shape)]).astype("f4")
                self.pixels[s2] = levels, optical
                self.split[s2], self.s1[s2] = split, s1
                self.labels[s2] = LABELS[k % 3]
                stored = optical if bands is None else optical[bands]
                self.files[f"BEN_14k/BigEarthNet-S2/{split}/{s2}.tif"] = tiff(stored)
                self.files[f"BEN_14k/BigEarthNet-S1/{split}/{s1}.tif"] = tiff(levels[list(radar)])

    def index(self) -> bytes:
        """The index of v2: these patches and many that are not here."""
        import pyarrow.parquet as pq

        others = [f"S2B_MSIL2A_20180101T000000_N9999_R001_T01AAA_{k}_0" for k in range(300)]
        names = [*self.split, *others]
        columns = {
            "patch_id": names,
            "labels": [self.labels.get(name, ["Arable land"]) for name in names],
            "split": ["train"] * len(names),
            "country": ["Austria"] * len(names),
            "s1_name": [self.s1.get(name, f"S1 of {name}") for name in names],
        }
        file = io.BytesIO()
        pq.write_table(pa.table(columns), file)
        return file.getvalue()

    def zip(self, folder: Path, *, inside: bool = True) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "BigEarthNet_14K.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in self.files.items():
                archive.writestr(name, content)
            if inside:
                archive.writestr("BEN_14k/metadata.parquet", self.index())
        if not inside:
            (folder / "metadata.parquet").write_bytes(self.index())
        return path

    def unpacked(self, folder: Path) -> Path:
        for name, content in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
        (folder / "BEN_14k" / "metadata.parquet").write_bytes(self.index())
        return folder


@pytest.fixture(scope="module")
def fake() -> Fake:
    return Fake()


@pytest.mark.parametrize("form", ["zip", "index beside", "its folder", "unpacked", "BEN_14k"])
def test_every_form_reads_value_for_value(fake: Fake, tmp_path: Path, form: str) -> None:
    source = {
        "zip": lambda: fake.zip(tmp_path),
        "index beside": lambda: fake.zip(tmp_path, inside=False),
        "its folder": lambda: fake.zip(tmp_path, inside=False).parent,
        "unpacked": lambda: fake.unpacked(tmp_path),
        "BEN_14k": lambda: fake.unpacked(tmp_path) / "BEN_14k",
    }[form]()
    path = build_cache(card(), tmp_path / "c.h5", source_dir=source, quiet=True)
    cache = open_cache(path, card())
    assert sorted(cache.ids) == sorted(fake.split)
    names = {"train": "train", "validation": "val", "test": "test"}
    for row, name in enumerate(cache.ids):
        levels, optical = fake.pixels[name]
        np.testing.assert_array_equal(cache.images("a")[row], levels)
        np.testing.assert_array_equal(cache.images("b")[row], optical)
        assert cache.split[row] == names[fake.split[name]]
        classes = {cache.card.labels.classes[k] for k in np.flatnonzero(cache.labels[row])}
        assert classes == set(fake.labels[name])
        assert cache.groups[row] == "33UUP/20170613"
    assert "train 9, validation 4, test 5" in "".join(cache.attributes["/"]["notes"])


def test_radar_stored_the_other_way_round_is_put_right_and_said(tmp_path: Path) -> None:
    fake = Fake(radar=(1, 0))
    source = open_source(card(), fake.zip(tmp_path))
    assert any("VH, VV" in note for note in source.notes)
    block = source.read(0, 3)
    for row, name in enumerate(source.ids[:3]):
        np.testing.assert_array_equal(block.a[row], fake.pixels[name][0])


def test_another_order_of_the_bands_is_refused_with_the_figures(tmp_path: Path) -> None:
    order = [STACKED.index(b) for b in
             ("B02", "B03", "B04", "B08", "B05", "B06", "B07", "B8A", "B11", "B12")]  # fmt: skip
    with pytest.raises(UserError, match=r"ten bands do not stand in the order .*B05 \d"):
        open_source(card(), Fake(bands=order).zip(tmp_path))


def test_patches_without_a_partner_are_named_and_left_out(fake: Fake, tmp_path: Path) -> None:
    folder = fake.unpacked(tmp_path)
    first = next(iter(fake.split))
    (folder / f"BEN_14k/BigEarthNet-S1/train/{fake.s1[first]}.tif").unlink()
    source = open_source(card(), folder)
    assert first not in source.ids and len(source.ids) == 17
    assert any(f"1 patches without a partner: {first}" in note for note in source.notes)
    strict = card().model_copy(update={"source": {"kind": "ben14k-10", "allow_missing": False}})
    with pytest.raises(UserError, match="1 patches lack their partner"):
        open_source(strict, folder)


def test_damage_is_named(fake: Fake, tmp_path: Path) -> None:
    folder = fake.unpacked(tmp_path / "whole")
    last = list(fake.split)[-1]
    patch = folder / f"BEN_14k/BigEarthNet-S2/test/{last}.tif"
    content = patch.read_bytes()
    patch.write_bytes(b"not a tiff")
    with pytest.raises(UserError, match="not a readable GeoTIFF") as caught:
        build_cache(card(), tmp_path / "c.h5", source_dir=folder, quiet=True)
    assert last in str(caught.value.where)
    patch.write_bytes(content)
    (folder / "BEN_14k" / "metadata.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(UserError, match="not the index of BigEarthNet v2"):
        open_source(card(), folder)
    (folder / "BEN_14k" / "metadata.parquet").unlink()
    with pytest.raises(UserError, match=r"no metadata\.parquet is inside or beside it"):
        open_source(card(), folder)
    with pytest.raises(UserError, match=r"2×12×12 float32, expected 2×120×120"):
        open_source(load_dataset("ben-14k-10"), fake.zip(tmp_path / "z"))
    assert not (tmp_path / "c.h5").exists()


def test_a_bomb_is_not_unpacked(fake: Fake, tmp_path: Path) -> None:
    path = fake.zip(tmp_path)
    name = f"BEN_14k/BigEarthNet-S2/train/{next(iter(fake.split))}.tif"
    with zipfile.ZipFile(path) as old:
        kept = {n: old.read(n) for n in old.namelist() if n != name}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for other, content in kept.items():
            archive.writestr(other, content)
        archive.writestr(name, bytes(64 * 2**20))
    with pytest.raises(UserError, match="more than any patch has"):
        open_source(card(), path)


@pytest.mark.parametrize("form", ["zip", "folder of the zip", "unpacked"])
def test_the_wrong_card_names_the_right_one(fake: Fake, tmp_path: Path, form: str) -> None:
    source = fake.unpacked(tmp_path) if form == "unpacked" else fake.zip(tmp_path)
    source = source.parent if form.startswith("folder") else source
    with pytest.raises(UserError, match="stacked BEN-14K of ten bands") as caught:
        open_source(load_dataset("ben-14k"), source)
    assert str(caught.value.fix).startswith("crbench cache build ben-14k-10 --source")


def test_the_other_sets_are_not_taken_for_this_one(tmp_path: Path, data, made) -> None:
    for form, write in data.WRITERS.items():
        with pytest.raises(UserError, match="no stacked BEN-14K is here") as caught:
            open_source(card(), write(tmp_path / form, made))
        assert "crbench cache build ben-14k --source" in str(caught.value.fix)


@pytest.mark.parametrize(
    "words", [["cache", "info"], ["cache", "verify"], ["cache", "preview"], ["evaluate", "--cache"]]
)
def test_every_command_that_meets_the_zip_says_which_set_it_is(
    fake: Fake, tmp_path: Path, trained_run: Path, words: list[str]
) -> None:
    path = str(fake.zip(tmp_path))
    more = [str(trained_run)] if words[0] == "evaluate" else []
    done = CliRunner().invoke(app, [*words, path, *more])
    text = " ".join(done.output.split())
    assert done.exit_code == 2 and "stacked BEN-14K" in text and "ben-14k-10" in text, text


def test_the_card_that_trains_on_all_pairs_says_so(fake: Fake, tmp_path: Path) -> None:
    every = card("ben-14k-10-all")
    assert every.train_splits == ["train", "val", "test"]
    assert every.protocols["leave-one-out"].gallery == ["test"]
    path = build_cache(every, tmp_path / "c.h5", source_dir=fake.zip(tmp_path), quiet=True)
    assert (
        open_cache(path).digest
        == open_cache(
            build_cache(card(), tmp_path / "d.h5", source_dir=tmp_path, quiet=True)
        ).digest
    )
    shutil.rmtree(tmp_path / "none", ignore_errors=True)
