"""Images that are not a run's dataset, embedded by it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from crbench.cli import app
from crbench.data.cache.reading import open_cache
from crbench.embedding.embedder import embed_run
from crbench.embedding.file import read_embeddings
from crbench.embedding.images import embed_images
from crbench.errors import UserError
from crbench.run.opened import open_run


def test_images_of_the_cache_give_the_runs_embeddings(
    trained_run: Path, twin_cache: Path, tmp_path: Path
) -> None:
    """The whole cache, and one modality as a folder of .npy, against the run's own file."""
    with h5py.File(embed_run(open_run(trained_run), quiet=True)) as file:
        own = {name: file[name][...] for name in ("a/uni", "b/uni", "b/cross")}
        ids = [text.decode() for text in file["ids"][...]]
    cache = open_cache(twin_cache)
    whole = read_embeddings(
        embed_images(trained_run, twin_cache, out=tmp_path / "all.h5", quiet=True), cache.ids
    )
    assert list(whole.ids) == list(cache.ids) and set(whole.serves) == {"aa", "bb", "ab", "ba"}
    for name, array in own.items():
        np.testing.assert_allclose(whole.of(name, np.array(ids)), array, atol=1e-5)
    (tmp_path / "photos").mkdir()
    for name in ids[:5]:
        row = int(np.flatnonzero(cache.ids == name)[0])
        np.save(tmp_path / "photos" / f"{name}.npy", cache.images("b")[row])
    words = ["embed", trained_run, "--images", tmp_path / "photos", "--modality", "b",
             "--out", tmp_path / "b.h5", "--quiet"]  # fmt: skip
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    some = read_embeddings(tmp_path / "b.h5", cache.ids)
    assert set(some.ids) == set(ids[:5]) and set(some.serves) == {"bb"}
    place = [ids.index(name) for name in some.ids]
    np.testing.assert_allclose(some.arrays["b/uni"], own["b/uni"][place], atol=1e-5)


def test_bands_of_a_geotiff_are_taken_by_name(
    trained_run: Path, twin_cache: Path, tmp_path: Path
) -> None:
    import rasterio

    from crbench.data.sources.bigearthnet.tiff import reading

    cache = open_cache(twin_cache)
    bands, pixels = cache.card.b.bands, np.asarray(cache.images("b")[0])

    def write(folder: str, order: list[int], named: bool = True) -> Path:
        path = tmp_path / folder / "x.tif"
        path.parent.mkdir()
        height, width = pixels.shape[1:]
        shape = {"count": len(order), "height": height, "width": width, "dtype": pixels.dtype}
        with reading(), rasterio.open(path, "w", driver="GTiff", **shape) as file:
            file.write(pixels[order])
            if named:
                file.descriptions = [bands[i] for i in order]
        return path.parent

    def embedded(folder: Path) -> np.ndarray:
        out = embed_images(trained_run, folder, modality="b", out=tmp_path / "x.h5", quiet=True)
        with h5py.File(out) as file:
            return np.asarray(file["b/uni"][...])

    straight = embedded(write("straight", list(range(len(bands))), named=False))
    backwards = embedded(write("backwards", list(range(len(bands)))[::-1]))
    np.testing.assert_array_equal(straight, backwards)
    few = write("few", list(range(2, len(bands))))
    with pytest.raises(UserError, match=f"needs the bands {bands[0]}, {bands[1]}, the file has"):
        embedded(few)
    with pytest.raises(UserError, match="the card says"):
        embedded(write("unnamed", [0, 1], named=False))


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (lambda p: p.mkdir(), {"modality": "b"}, "no image in this folder"),
        (lambda p: p.mkdir(), {}, "does not say of which modality"),
        (lambda p: p.mkdir(), {"modality": "c"}, "unknown modality 'c'"),
        (lambda p: None, {"modality": "b"}, "no such folder or cache"),
        (lambda p: p.write_bytes(b"text"), {}, "damaged or no cache"),
    ],
)
def test_images_that_cannot_be_embedded(
    make: Any, options: dict[str, str], message: str, trained_run: Path, tmp_path: Path
) -> None:
    make(tmp_path / "photos")
    with pytest.raises(UserError, match=message):
        embed_images(trained_run, tmp_path / "photos", out=tmp_path / "o.h5", quiet=True, **options)
    assert not (tmp_path / "o.h5").exists()


def test_an_image_of_another_size_or_type_is_named(trained_run: Path, tmp_path: Path) -> None:
    for name, array in (
        ("small.npy", np.ones((12, 8, 8), np.uint16)),
        ("float.npy", np.ones((12, 32, 32), np.float32)),
        ("objects.npy", np.array([{}], dtype=object)),
    ):
        folder = tmp_path / name
        folder.mkdir()
        np.save(folder / name, array, allow_pickle=True)
        with pytest.raises(UserError) as caught:
            embed_images(trained_run, folder, modality="b", out=tmp_path / "o.h5", quiet=True)
        assert name in str(caught.value)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name a run folder, or an --encoder"),
        (["r", "--encoder", "timm:x"], "name a run folder, or an --encoder"),
        (["r", "--weights", "w"], "--weights goes with --encoder alone"),
        (["r", "--modality", "a"], "--modality goes with --images alone"),
        (["--encoder", "timm:x", "--images", "d"], "--images goes with a run alone"),
        (["--encoder", "timm:x"], "name its card by --dataset"),
    ],
)
def test_options_that_do_not_go_together(words: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["embed", *words])
    assert result.exit_code == 2 and message in result.output
