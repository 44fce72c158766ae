"""The six real patches of BigEarthNet v1, band by band against rasterio, scipy and torch."""

import csv
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
import scipy.ndimage
import torch

from crbench.cards import load_dataset
from crbench.data.cache.build import build_cache
from crbench.data.cache.reading import Cache, open_cache
from crbench.data.cache.verify import verify_cache
from crbench.data.sources.bigearthnet.members import canonical, with_members

NATIVE = {60: 2, 20: 6}  # side of a band → factor to 120


@pytest.fixture(scope="module")
def folder(real_data: Callable[[str], Path]) -> Path:
    return real_data("bigearthnet_v1_example")


@pytest.fixture(scope="module")
def cache(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Cache:
    card = with_members(load_dataset("ben-14k"), "all")
    out = tmp_path_factory.mktemp("real") / "c.h5"
    return open_cache(build_cache(card, out, source_dir=folder, quiet=True), card)


def patches(folder: Path, sensor: str) -> dict[str, Path]:
    """Patch folders by canonical name."""
    root = folder / f"BigEarthNet-{sensor}-Example"
    return {canonical(path.name): path for path in root.iterdir()}


def pixels(path: Path, band: str) -> np.ndarray:
    with rasterio.open(path / f"{path.name}_{band}.tif") as file:
        found: np.ndarray = file.read(1)
    return found


def test_bands_equal_rasterio_and_the_named_resampling(folder: Path, cache: Cache) -> None:
    s2, s1 = patches(folder, "S2"), patches(folder, "S1")
    assert cache.ids.tolist() == sorted(s2)
    resampled = 0
    for row, name in enumerate(cache.ids):
        for channel, band in enumerate(cache.card.b.bands):
            native, found = pixels(s2[name], band), cache.images("b")[row, channel]
            if native.shape == (120, 120):
                np.testing.assert_array_equal(found, native)
                continue
            wide = torch.nn.functional.interpolate(
                torch.from_numpy(native.astype(np.float64))[None, None],
                (120, 120),
                mode="bilinear",
                align_corners=False,
            )
            np.testing.assert_array_equal(found, np.rint(wide[0, 0].numpy()))
            zoomed = scipy.ndimage.zoom(
                native.astype(np.float64),
                NATIVE[native.shape[0]],
                order=1,
                mode="nearest",
                grid_mode=True,
            )
            assert np.abs(found - zoomed).max() <= 0.5 + 1e-6
            resampled += 1
        partner = next(
            path for path in s1.values() if canonical(_json(path)["corresponding_s2_patch"]) == name
        )
        for channel, band in enumerate(cache.card.a.bands):
            native = pixels(partner, band)
            assert native.dtype == np.float32
            np.testing.assert_array_equal(cache.images("a")[row, channel], native)
            assert (native != np.trunc(native)).mean() > 0.9, "dB were truncated"
    assert resampled == 6 * 8
    assert verify_cache(cache.path, quiet=True)[0] == []


def _json(path: Path) -> dict:  # type: ignore[type-arg]
    found: dict = json.loads((path / f"{path.name}_labels_metadata.json").read_text())  # type: ignore[type-arg]
    return found


def test_labels_equal_the_metadata_through_the_map(
    folder: Path, cache: Cache, real_data: Callable[[str], Path]
) -> None:
    with open(real_data("ben14k_splits") / "labels_43_to_19.csv", newline="") as file:
        table = {row["corine_43"]: row["class_19"] for row in csv.DictReader(file)}
    classes = cache.card.labels.classes
    for name, path in patches(folder, "S2").items():
        row = cache.ids.tolist().index(name)
        wanted = {table[label] for label in _json(path)["labels"]} - {""}
        assert {classes[k] for k in np.flatnonzero(cache.labels[row])} == wanted
        assert wanted


def test_a_run_on_other_members_says_so(cache: Cache) -> None:
    """What trains on it carries the note to its records and boards, under the card's own name."""
    from crbench.run.opened import open_dataset

    in_use = open_dataset("ben-14k", cache.path).card
    assert in_use.note == "other members: all"
    assert in_use.source["members"] == "all"


def test_the_same_through_archives(folder: Path, cache: Cache, tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    raw.mkdir()
    for sensor, root in (("S2", "BigEarthNet-v1.0"), ("S1", "BigEarthNet-S1-v1.0")):
        with tarfile.open(raw / f"{root}.tar.gz", "w:gz", compresslevel=1) as archive:
            archive.add(folder / f"BigEarthNet-{sensor}-Example", root)
    card = with_members(load_dataset("ben-14k"), "all")
    again = open_cache(build_cache(card, tmp_path / "c.h5", source_dir=raw, quiet=True))
    assert again.digest == cache.digest
