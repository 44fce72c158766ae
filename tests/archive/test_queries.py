"""Queries of any kind: vectors that are stored, and images of one's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from crbench.archive.search import Search, ask
from crbench.data.cache.reading import Cache
from crbench.errors import UserError
from crbench.evaluation.recorded import open_evaluated


def image(cache: Cache, query: str, modality: str) -> np.ndarray:
    return np.array(cache.images(modality)[cache.ids.tolist().index(query)])


def test_a_stored_embedding_is_taken_where_there_is_one(search: Search) -> None:
    """To the bit, and the image embedded alone comes to the same within float32."""
    row = int(search.cache.rows(["test"])[5])
    stored = search.queries.of_pair(row, "a/cross")
    opened = open_evaluated(search.queries.run.path)
    assert (stored == opened.embeddings.of("a/cross", search.cache.ids[[row]])[0]).all()
    assert "_embedder" not in vars(search.queries)  # nothing was loaded for it
    alone = search.queries.of_image(search.cache.images("a")[row], "a/cross", "x")
    np.testing.assert_allclose(alone, stored, atol=1e-5 * np.abs(stored).max())


def tiff(path: Path, pixels: np.ndarray, names: list[str]) -> Path:
    _, height, width = pixels.shape
    shape = {"height": height, "width": width, "count": len(pixels), "dtype": pixels.dtype}
    with rasterio.open(path, "w", driver="GTiff", **shape) as file:
        file.write(pixels)
        for index, name in enumerate(names):
            file.set_band_description(index + 1, name)
    return path


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_files_of_ones_own(search: Search, tmp_path: Path) -> None:
    """The sensor is the one whose card the file fits; bands by name in any order."""
    query = str(search.cache.ids[-1])
    radar, optical = (image(search.cache, query, m) for m in "ab")
    np.save(tmp_path / "radar.npy", radar)
    np.savez(tmp_path / "optical.npz", optical)
    bands = search.cache.card.b.bands
    tiff(tmp_path / "optical.tif", optical[::-1], bands[::-1])
    expected = {m: search.by_image(image(search.cache, query, m), d, 6).items for m, d in
                (("a", "ab"), ("b", "ba"))}  # fmt: skip
    for name, modality in (("radar.npy", "a"), ("optical.npz", "b"), ("optical.tif", "b")):
        answer = ask(search, str(tmp_path / name), None, 6)
        assert (answer.query, answer.direction[0]) == (name, modality)
        assert answer.items == expected[modality]
    same = ask(search, str(tmp_path / "optical.npz"), "bb", 3)
    assert same.items[0].id == query and same.items[0].score == 1.0


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_images_that_do_not_fit_name_the_bands(search: Search, tmp_path: Path) -> None:
    optical = image(search.cache, str(search.cache.ids[-1]), "b")
    np.save(tmp_path / "five.npy", optical[:5])
    with pytest.raises(UserError, match="fits no sensor") as caught:
        ask(search, str(tmp_path / "five.npy"))
    assert "S1 (VV, VH)" in str(caught.value) and "S2 (B01, B02" in str(caught.value)
    with pytest.raises(UserError) as caught:
        ask(search, str(tmp_path / "five.npy"), "ab")
    assert "2×32×32 float32" in str(caught.value) and "VV, VH" in str(caught.value)
    tiff(tmp_path / "few.tif", optical[:5], search.cache.card.b.bands[:5])
    with pytest.raises(UserError, match="needs the bands B06"):
        ask(search, str(tmp_path / "few.tif"), "ba")
    Image.new("RGB", (32, 32)).save(tmp_path / "photo.png")
    with pytest.raises(UserError, match="fits no sensor"):
        ask(search, str(tmp_path / "photo.png"))
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(UserError, match="not a readable image"):
        ask(search, str(tmp_path / "text.png"))
    with pytest.raises(UserError, match=r"5×32×32, S1 is 2×32×32: VV, VH"):
        search.by_image(optical[:5], "ab")
    with pytest.raises(UserError, match="NaN"):
        search.by_image(np.full((2, 32, 32), np.nan), "ab")
