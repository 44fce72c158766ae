"""Folders of images: every layout read back value for value, and every mistake named."""

import shutil
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crbench.cards import DatasetCard, load_dataset
from crbench.data.cache.build import build_cache
from crbench.data.cache.reading import Cache, open_cache
from crbench.data.cache.verify import verify_cache
from crbench.data.sources import Source, open_source
from crbench.data.sources.bigearthnet.members import with_members
from crbench.errors import UserError


@pytest.fixture(scope="module")
def made(data: ModuleType) -> list[Any]:
    return list(data.pairs(6))


def changed(card: DatasetCard, **keys: object) -> DatasetCard:
    return card.model_copy(update={"source": {**card.source, **keys}})


def built(card: DatasetCard, root: Path, tmp_path: Path) -> Cache:
    cache = open_cache(build_cache(card, tmp_path / "c.h5", source_dir=root, quiet=True), card)
    assert verify_cache(cache.path, quiet=True)[0] == []
    return cache


def source(card: DatasetCard, root: Path) -> Source:
    found = open_source(card, root)
    assert isinstance(found, Source)
    return found


def same(cache: Cache, made: list[Any], ids: dict[str, str] | None = None) -> None:
    """The cache holds exactly these pairs, value for value, with their classes."""
    assert sorted(cache.ids) == sorted((ids or {}).get(p.stem, p.stem) for p in made)
    row = {name: k for k, name in enumerate(cache.ids.tolist())}
    assert cache.labels is not None
    for pair in made:
        k = row[(ids or {}).get(pair.stem, pair.stem)]
        for which in ("a", "b"):
            np.testing.assert_array_equal(cache.images(which)[k], pair.pixels[which])
        assert cache.card.labels.classes[cache.labels[k]] == pair.kind


@pytest.mark.parametrize("endings", [(".png", ".png"), (".tif", ".png"), (".TIFF", ".npy")])
def test_class_folders(
    data: ModuleType, made: list[Any], cbrsir: DatasetCard, tmp_path: Path, endings: tuple[str, str]
) -> None:
    folders = {"a": "RGB", "b": "SAR"}
    data.class_folders(tmp_path / "raw", made, folders, dict(zip("ab", endings, strict=True)))
    cache = built(cbrsir, tmp_path / "raw", tmp_path)
    same(cache, made)
    splits = Counter(cache.split.tolist())
    assert splits == {"query": 10, "val": 6, "train": 44}
    queries = cache.labels[cache.split == "query"]  # type: ignore[index]
    assert np.bincount(queries).tolist() == [1] * 10


def test_jpegs_hold_what_pillow_decodes(
    data: ModuleType, made: list[Any], cbrsir: DatasetCard, tmp_path: Path
) -> None:
    root = data.class_folders(tmp_path / "raw", made, None, {"a": ".jpg", "b": ".jpeg"})
    cache = built(cbrsir, root, tmp_path)
    for name in ("Forest_2", "SeaLake_6"):
        k = cache.ids.tolist().index(name)
        path = root / "RGB" / name.split("_")[0] / f"{name}.jpg"
        want = np.asarray(Image.open(path)).transpose(2, 0, 1)
        np.testing.assert_array_equal(cache.images("a")[k], want)


def test_what_was_found_is_said(
    data: ModuleType, made: list[Any], cbrsir: DatasetCard, tmp_path: Path
) -> None:
    notes = source(cbrsir, data.class_folders(tmp_path, made)).notes
    assert notes[0] == "layout: class folders, 60 pairs"
    assert notes[1] == "a = RGB: RGB/, 60 png, the first is 3×16×16 uint8"
    assert notes[2] == "b = SAR: SAR/, 60 png, the first is 1×4×4 uint8"
    assert notes[3].startswith("classes: AnnualCrop 6, Forest 6")
    assert notes[4].endswith("60 pairs: query 10, train 44, val 6")


def test_stems_that_repeat_in_every_class_get_their_class(
    data: ModuleType, made: list[Any], cbrsir: DatasetCard, tmp_path: Path
) -> None:
    for pair in made:
        for which, folder in (("a", "RGB"), ("b", "SAR")):
            path = tmp_path / "raw" / folder / pair.kind / f"{pair.number}.png"
            data.write_image(path, pair.pixels[which])
    ids = {pair.stem: f"{pair.kind}/{pair.number}" for pair in made}
    same(built(cbrsir, tmp_path / "raw", tmp_path), made, ids)


@pytest.mark.parametrize("form", ["index", "from one", "one-hot"])
def test_list_files(
    data: ModuleType, made: list[Any], cbrsir: DatasetCard, tmp_path: Path, form: str
) -> None:
    root = data.flat(tmp_path / "raw", made, {"a": "_rgb.png", "b": "_sar.tif"})
    lines = [data.list_line(pair, form) for pair in made]
    (root / "train.txt").write_text("# path class\n" + "\n".join(lines[:40]) + "\n")
    (root / "test.txt").write_text("\n".join(lines[30:]) + "\n\n")
    (root / "readme.txt").write_text("These are images.\n")
    card = changed(cbrsir, suffix={"a": "_rgb", "b": "_sar"})
    same(built(card, root, tmp_path), made)
    notes = source(card, root).notes
    assert notes[0] == "layout: list files (test.txt, train.txt), 60 pairs"
    base = {"index": "0", "from one": "1"}.get(form)
    assert (f"class indices count from {base}" in notes) == (form != "one-hot")


def test_list_files_with_prefixes_and_endings_in_one_folder(
    data: ModuleType, made: list[Any], cbrsir: DatasetCard, tmp_path: Path
) -> None:
    for pair in made:
        for which in ("a", "b"):
            path = tmp_path / "raw" / "all" / pair.kind / f"{which}-{pair.stem}.png"
            data.write_image(path, pair.pixels[which])
    lines = [f"{p.kind}/{data.list_line(p, 'index').replace(' ', '.jpg ')}" for p in made]
    (tmp_path / "raw" / "set.lst").write_text("\n".join(lines))
    card = changed(cbrsir, a="all", b="all", labels="*.lst", prefix={"a": "a-", "b": "b-"})
    same(built(card, tmp_path / "raw", tmp_path), made)


def test_unpaired_files_are_listed_and_left_out_if_allowed(
    data: ModuleType, made: list[Any], cbrsir: DatasetCard, tmp_path: Path
) -> None:
    root = data.class_folders(tmp_path / "raw", made)
    (root / "RGB" / "Forest" / "Forest_1.png").unlink()
    for number in range(1, 4):
        (root / "SAR" / "River" / f"River_{number}.png").unlink()
    with pytest.raises(UserError, match="4 pairs are not whole") as caught:
        build_cache(cbrsir, tmp_path / "c.h5", source_dir=root, quiet=True)
    for piece in ("'Forest/Forest_1' (no a)", "'River/River_3' (no b)", "--allow-missing"):
        assert piece in str(caught.value)
    assert not (tmp_path / "c.h5").exists()
    card = with_members(cbrsir, allow_missing=True)
    assert "pairs may be missing" in card.note
    cache = built(card, root, tmp_path)
    gone = {"Forest_1", "River_1", "River_2", "River_3"}
    same(cache, [pair for pair in made if pair.stem not in gone])
    assert cache.attributes["/"]["missing"] == 4
    assert Counter(cache.split.tolist()) == {"query": 10, "val": 6, "train": 40}
    assert "scaled to 56 of 60 pairs" in str(source(card, root).notes)


def test_a_pair_keeps_its_split_whatever_the_order_of_files(
    data: ModuleType, made: list[Any], cbrsir: DatasetCard, tmp_path: Path
) -> None:
    one = source(cbrsir, data.class_folders(tmp_path / "one", made))
    shuffled = [made[k] for k in np.random.default_rng(1).permutation(len(made))]
    two = source(cbrsir, data.class_folders(tmp_path / "two", shuffled))
    assert (one.ids, one.split) == (two.ids, two.split)
    other = source(changed(cbrsir, split={**cbrsir.source["split"], "seed": 1}), tmp_path / "one")
    assert other.split != one.split


def test_a_set_too_small_for_the_split_is_refused(
    data: ModuleType, tmp_path: Path, cbrsir: DatasetCard
) -> None:
    root = data.class_folders(tmp_path, data.pairs(3))
    full = changed(cbrsir, split=load_dataset("cbrsir-vs").source["split"])
    with pytest.raises(UserError, match="split 'query' would take 0 of 3 pairs of a class"):
        open_source(full, root)


def test_the_splits_of_all_of_cbrsir_vs() -> None:
    """The table of the benchmark, from names alone: 24,901 / 1,000 / 1,000."""
    from crbench.data.sources.user.splits import draw

    sizes = [2690] * 9 + [26901 - 9 * 2690]
    labels = np.repeat(np.arange(10), sizes)
    ids = [f"{k}_{row}" for row, k in enumerate(labels.tolist())]
    rule = load_dataset("cbrsir-vs").source["split"]
    split, words = draw(rule, ids, labels, "cbrsir-vs")
    assert Counter(split) == {"train": 24_901, "val": 1_000, "query": 1_000}
    queries = labels[np.array(split) == "query"]
    assert np.bincount(queries).tolist() == [100] * 10
    assert "query 1,000, train 24,901, val 1,000" in words


def _break(root: Path, kind: str, data: ModuleType) -> None:
    image = root / "RGB" / "River" / "River_2.png"
    if kind == "class":
        shutil.rmtree(root / "RGB" / "River")
        shutil.rmtree(root / "SAR" / "River")
    elif kind == "strange class":
        shutil.copytree(root / "RGB" / "River", root / "RGB" / "Rivers")
    elif kind == "twice":
        shutil.copy(image, image.with_suffix(".jpg"))
    elif kind == "size":
        data.write_image(image, np.zeros((3, 16, 15), np.uint8))
    elif kind == "bands":
        data.write_image(image, np.zeros((1, 16, 16), np.uint8))
    elif kind == "16 bit":
        image.unlink()
        data.write_image(image.with_suffix(".tif"), np.zeros((3, 16, 16), np.uint16))
    elif kind == "cut":
        image.write_bytes(image.read_bytes()[:-60])
    elif kind == "palette":
        Image.open(image).convert("P").save(image)
    elif kind == "text":
        image.write_text("no picture")
    elif kind == "tiff":
        image.unlink()
        image.with_suffix(".tif").write_bytes(b"II*\x00 and nothing more")
    elif kind == "pickle":
        image.unlink()
        np.save(image.with_suffix(".npy"), np.array([{"a": 1}], dtype=object), allow_pickle=True)
    elif kind == "pickle in a zip":
        image.unlink()
        np.savez(image.with_suffix(".npz"), x=np.array([{"a": 1}], dtype=object))
    elif kind == "names":
        for path in (root / "SAR").rglob("*.png"):
            path.rename(path.with_name(f"s1_{path.name}"))


@pytest.mark.parametrize(
    ("kind", "message", "where"),
    [
        ("class", "no pair is of class 'River'", ""),
        ("strange class", "folder 'Rivers' is no class of the card", ""),
        ("twice", r"'River/River_2' is there twice: River_2\.jpg and River_2\.png", ""),
        ("size", "the image is 3×16×15 uint8, the card says RGB is 3×16×16 uint8", "River_2.png"),
        ("bands", "the image is 1×16×16 uint8", "River_2.png"),
        ("16 bit", "the image is 3×16×16 uint16", "River_2.tif"),
        ("cut", "not a readable image", "River_2.png"),
        ("palette", "mode P", "River_2.png"),
        ("text", "not a readable image", "River_2.png"),
        ("tiff", "not a readable image", "River_2.tif"),
        ("pickle", "an array of Python objects, which are never loaded", "River_2.npy"),
        ("pickle in a zip", "an array of Python objects, which are never loaded", "River_2.npz"),
        ("names", "no two files belong together: a has 'AnnualCrop/AnnualCrop_1', b has", ""),
    ],
)
def test_bad_images_are_named(
    data: ModuleType,
    made: list[Any],
    cbrsir: DatasetCard,
    tmp_path: Path,
    kind: str,
    message: str,
    where: str,
) -> None:
    root = data.class_folders(tmp_path / "raw", made)
    _break(root, kind, data)
    with pytest.raises(UserError, match=message) as caught:
        build_cache(cbrsir, tmp_path / "c.h5", source_dir=root, quiet=True)
    assert str(caught.value.where).endswith(where)
    assert caught.value.fix
    assert not (tmp_path / "c.h5").exists()


def test_a_grey_picture_with_three_equal_channels_is_one_band(
    data: ModuleType, made: list[Any], cbrsir: DatasetCard, tmp_path: Path
) -> None:
    root = data.class_folders(tmp_path / "raw", made)
    for path in (root / "SAR").rglob("*.png"):
        Image.open(path).convert("RGB").save(path)
    same(built(cbrsir, root, tmp_path), made)


def test_the_source_is_named(cbrsir: DatasetCard, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the raw data of cbrsir-vs are needed") as caught:
        open_source(cbrsir)
    assert "--source DIR" in str(caught.value)
    (tmp_path / "x.zip").write_bytes(b"PK")
    with pytest.raises(UserError, match="an archive"):
        open_source(cbrsir, tmp_path / "x.zip")
    with pytest.raises(UserError, match="are not there"):
        open_source(cbrsir, tmp_path / "nowhere")
