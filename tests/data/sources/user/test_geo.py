"""Datasets of torchgeo as sources: real classes of torchgeo over tiny files on disk."""

from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import rasterio

from crbench.cards import DatasetCard, load_dataset
from crbench.data.cache.build import build_cache
from crbench.data.cache.reading import open_cache
from crbench.data.sources import open_source
from crbench.errors import UserError

CARD = """
name = "geo"
title = "Geo"
summary = "a dataset of torchgeo"
licence = "its own"
citation = "its own"
where = "torchgeo's page"
train_splits = ["train"]
headline = ["map"]
protocol = "split"
[protocols.split]
query = ["query"]
gallery = ["train"]
[a]
name = "S1"
sensor = "Sentinel-1"
bands = {bands_a}
size = [{side}, {side}]
dtype = "float32"
units = "-"
display = [{bands_a}]
[b]
name = "S2"
sensor = "Sentinel-2"
bands = {bands_b}
size = [{side}, {side}]
dtype = "{dtype}"
units = "-"
display = ["B02"]
[labels]
kind = "{kind}"
classes = {classes}
[source]
kind = "torchgeo"
dataset = "{dataset}"
{source}
"""
SO2SAT = {
    "bands_a": '["VV", "VH"]',
    "bands_b": '["B02", "B03"]',
    "side": 32,
    "dtype": "float32",
    "kind": "single",
    "classes": [f"zone {k}" for k in range(1, 18)],
    "dataset": "So2Sat",
    "source": 'key_a = "image"\nkey_b = "image"\nchannels_a = [0, 1]\nchannels_b = [8, 9]\n'
    'splits = { train = "train", query = "validation" }',
}
N = 12


def card(tmp_path: Path, **keys: Any) -> DatasetCard:
    text = CARD.format(**{**SO2SAT, **keys})
    text = text.replace('display = [["VV", "VH"]]', 'display = ["VV"]')
    path = tmp_path / "geo.toml"
    path.write_text(text.replace('display = [["VH", "VV"]]', 'display = ["VV"]'))
    return load_dataset(str(path))


@pytest.fixture
def torchgeo() -> Any:
    reason = "torchgeo is not installed: pip install 'crbench[geo]'"
    return pytest.importorskip("torchgeo.datasets", reason=reason)


@pytest.fixture
def so2sat(torchgeo: Any, tmp_path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Training and validation files of So2Sat version 2, twelve and six samples."""
    arrays = {}
    for split, n in (("train", N), ("validation", N // 2), ("test", 1)):
        rng = np.random.default_rng(n)
        arrays[split] = {
            "sen1": rng.normal(size=(n, 32, 32, 8)).astype(np.float32).astype(np.float64),
            "sen2": rng.uniform(size=(n, 32, 32, 10)).astype(np.float32).astype(np.float64),
            "label": np.eye(17)[np.arange(n) % 17],
        }
        path = tmp_path / "raw" / torchgeo.So2Sat.filenames_by_version["2"][split]
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            for name, array in arrays[split].items():
                file[name] = array
    return arrays


def test_so2sat_stacks_both_sensors(so2sat: dict[str, Any], tmp_path: Path) -> None:
    mine = card(tmp_path)
    path = build_cache(mine, tmp_path / "c.h5", source_dir=tmp_path / "raw", quiet=True)
    cache = open_cache(path, mine)
    assert Counter(cache.split.tolist()) == {"train": N, "query": N // 2}
    assert cache.ids[[0, N]].tolist() == ["train-00", "query-00"]
    stacked = {
        key: np.concatenate([so2sat[split][key] for split in ("train", "validation")])
        for key in ("sen1", "sen2", "label")
    }
    np.testing.assert_array_equal(cache.images("a"), stacked["sen1"][..., :2].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(cache.images("b"), stacked["sen2"][..., :2].transpose(0, 3, 1, 2))
    np.testing.assert_array_equal(cache.labels, stacked["label"].argmax(1))


def test_a_seeded_split_of_one_part(so2sat: dict[str, Any], tmp_path: Path) -> None:
    rule = SO2SAT["source"].replace(  # type: ignore[attr-defined]
        'splits = { train = "train", query = "validation" }',
        'arguments = { split = "train" }\n[source.split]\ncounts = { query = 4 }',
    )
    source = open_source(card(tmp_path, source=rule), tmp_path / "raw")
    assert Counter(source.split) == {"train": 8, "query": 4}  # type: ignore[union-attr]


def test_bigearthnet_v2_has_two_images(torchgeo: Any, tmp_path: Path) -> None:
    """As torchgeo gives them: Sentinel-1 rounded to whole dB, VH before VV."""
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    raw, rng = tmp_path / "raw", np.random.default_rng(0)
    bands = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
    rows, pixels = [], []
    for k, split in enumerate(["train", "train", "test"]):
        s2 = f"S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_{k}"
        s1 = f"S1A_IW_GRDH_1SDV_20170613T165043_33UUP_26_{k}"
        optical = rng.integers(0, 10_000, (12, 120, 120)).astype(np.uint16)
        radar = rng.normal(-15, 5, (2, 120, 120)).astype(np.float32)
        files = [(f"BigEarthNet-S2/{s2[:-5]}/{s2}/{s2}_{n}.tif", x) for n, x in zip(bands, optical)]  # noqa: B905
        head = s1.rsplit("_", 3)[0]
        files += [
            (f"BigEarthNet-S1/{head}/{s1}/{s1}_{n}.tif", x)
            for n, x in zip(("VV", "VH"), radar, strict=True)
        ]
        corine = np.full((120, 120), 312, np.uint16)
        files.append((f"Reference_Maps/{s2[:-5]}/{s2}/{s2}_reference_map.tif", corine))
        for name, layer in files:
            path = raw / name
            path.parent.mkdir(parents=True, exist_ok=True)
            with rasterio.open(
                path, "w", driver="GTiff", count=1, height=120, width=120, dtype=layer.dtype
            ) as file:
                file.write(layer, 1)
        labels = [["Arable land"], ["Coniferous forest", "Pastures"], ["Marine waters"]][k]
        rows.append({"patch_id": s2, "s1_name": s1, "split": split, "labels": labels})
        pixels.append((radar, optical))
    pandas.DataFrame(rows).to_parquet(raw / "metadata.parquet")
    classes = list(torchgeo.BigEarthNetV2.class_set)
    mine = card(
        tmp_path,
        bands_a='["VH", "VV"]',
        bands_b=list(bands),
        side=120,
        dtype="uint16",
        kind="multi",
        classes=classes,
        dataset="BigEarthNetV2",
        source='splits = { train = "train", query = "test" }',
    )
    cache = open_cache(build_cache(mine, tmp_path / "c.h5", source_dir=raw, quiet=True), mine)
    for k, (radar, optical) in enumerate(pixels):
        np.testing.assert_array_equal(cache.images("b")[k], optical)
        np.testing.assert_array_equal(cache.images("a")[k], np.rint(radar[::-1]))
    assert cache.labels is not None
    found = [{classes[k] for k in np.flatnonzero(row)} for row in cache.labels]
    assert found == [set(row["labels"]) for row in rows]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"dataset": "So2sat"}, "did you mean 'So2Sat'"),
        ({"dataset": "NAIP"}, "unknown dataset of torchgeo 'NAIP'"),
        ({"dataset": "os"}, "unknown dataset of torchgeo 'os'"),
        ({"dataset": "utils.download_url"}, "unknown dataset of torchgeo"),
        ({"dataset": "download_url"}, "unknown dataset of torchgeo"),
        ({"source": 'splits = { train = "nope" }'}, "torchgeo cannot open its So2Sat"),
        ({"source": "arguments = { bnds = 3 }"}, "unexpected keyword argument 'bnds"),
        ({"dtype": "uint16"}, "with values that uint16 cannot hold"),
        ({"side": 16}, "is 2×32×32 float32, the card says S1 is 2×16×16"),
        ({"classes": ["one", "two"]}, "the label of 'train-02': int64"),
        ({"source": 'splits = { train = "train", query = "test" }'}, "a sample has no 'image_s1'"),
    ],
)
def test_mistakes_are_named(
    so2sat: dict[str, Any], tmp_path: Path, keys: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        build_cache(
            card(tmp_path, **keys), tmp_path / "c.h5", source_dir=tmp_path / "raw", quiet=True
        )
    assert not (tmp_path / "c.h5").exists()


def test_missing_data_are_no_traceback(torchgeo: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="Dataset not found") as caught:
        open_source(card(tmp_path), tmp_path / "nowhere")
    assert "get the data (torchgeo's page)" in str(caught.value)


def test_without_torchgeo_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torchgeo", None)
    monkeypatch.setitem(sys.modules, "torchgeo.datasets", None)
    with pytest.raises(UserError, match=r"needs torchgeo\S*, which is not installed") as caught:
        open_source(card(tmp_path), tmp_path)
    assert "crbench[geo]" in str(caught.value)
