"""Images without labels: from a folder or a cache, in a model's bands, normalised as in runs."""

from pathlib import Path

import numpy as np
import pytest
import torch

from crbench.cards import ModalityCard, load_dataset
from crbench.data.cache.reading import open_cache
from crbench.data.pairs import Pairs
from crbench.data.unlabelled import Normalised, UnlabelledImages, cached_images, image_folder
from crbench.errors import UserError


def modality(which: str, *bands: str) -> ModalityCard:
    card = load_dataset("ben-14k-twin")
    return card.with_bands([*bands]).modality(which)


def test_a_folder_gives_its_files_by_name(tmp_path: Path) -> None:
    images = np.random.default_rng(0).normal(-12, 3, (3, 2, 32, 32)).astype(np.float32)
    (tmp_path / "sub").mkdir()
    for name, image in zip(("b", "a", "sub/c"), images, strict=True):
        np.save(tmp_path / f"{name}.npy", image)
    folder = image_folder(tmp_path, modality("a", "a=VH"))
    assert folder.ids.tolist() == ["a", "b", "sub/c"] and len(folder) == 3
    np.testing.assert_array_equal(folder.read(np.array([2, 1])), images[[2, 0], 1:])
    np.save(tmp_path / "b.npy", images[0, :, :16])
    with pytest.raises(UserError, match="the image is 2×16×32 float32") as caught:
        folder.read(np.array([0, 1]))
    assert str(caught.value.where).endswith("b.npy")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="there is no image in this folder"):
        image_folder(tmp_path / "empty", modality("a"))


def test_a_cache_gives_all_its_images_in_the_bands_of_the_model(twin_cache: Path) -> None:
    cache = open_cache(twin_cache)
    images = cached_images(twin_cache, "b", modality("b", "b=B12,B02"))
    assert images.ids.tolist() == cache.ids.tolist()
    expected = cache.images("b")[[150, 3]][:, [11, 1]]
    np.testing.assert_array_equal(images.read(np.array([150, 3])), expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bands": ["VV", "HH"]}, "S1 twin needs the bands HH, the file has VV, VH"),
        (
            {"units": "intensity"},
            "modality a does not fit the run: units: cache .*, card intensity",
        ),
        ({"size": (64, 64), "dtype": "uint8"}, r"size: cache \(32, 32\), card \(64, 64\); dtype"),
    ],
)
def test_a_cache_of_other_images_is_refused(
    twin_cache: Path, change: dict[str, object], message: str
) -> None:
    other = modality("a").model_copy(update={"name": "S1 twin", **change})
    with pytest.raises(UserError, match=message):
        cached_images(twin_cache, "a", other)


def test_they_are_normalised_as_the_pairs_of_a_run(twin_cache: Path) -> None:
    cache = open_cache(twin_cache)
    device = torch.device("cpu")
    images = cached_images(twin_cache, "a", cache.card.a)
    normalised = Normalised(images, cache.stats("a"), 16, device)
    pairs = Pairs(cache, ["test"], image_size=16)
    some = np.array([0, 7, 39])
    assert len(normalised) == cache.n
    assert torch.equal(normalised.images("a", pairs.rows[some]), pairs.images("a", some))


def test_an_image_with_nan_is_named(twin_cache: Path) -> None:
    stats = open_cache(twin_cache).stats("a")
    pixels = np.zeros((3, 2, 8, 8), np.float32)
    pixels[1, 1, 3, 3] = np.inf
    images = UnlabelledImages(np.array(["x", "y", "z"]), lambda at: pixels[at])
    normalised = Normalised(images, stats, 8, torch.device("cpu"))
    assert normalised.images("a", np.array([0, 2])).shape == (2, 2, 8, 8)
    with pytest.raises(UserError, match="NaN or infinite") as caught:
        normalised.images("a", np.array([2, 0, 1]))
    assert caught.value.where == "y"
