"""Grids, previews, curves: what is shown is what the scorer ranks, framed as the labels say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from crbench.cards import ModalityCard, ProtocolCard
from crbench.data.cache.reading import Cache, open_cache
from crbench.data.pair_labels import label_names
from crbench.draw import sheet
from crbench.draw.curves import read_curve, training_curves
from crbench.draw.grids import explain_hit, neighbours_of, retrieval_grid
from crbench.draw.preview import pair_sheet
from crbench.draw.render import channels, pictures, stretch, usual_limits
from crbench.embedding.file import Embeddings
from crbench.errors import UserError
from crbench.files import append_jsonl, write_json

DIRECTIONS = ("aa", "bb", "ab", "ba")
SERVES = {direction: (f"{direction[0]}/v", f"{direction[1]}/v") for direction in DIRECTIONS}
TEST = ProtocolCard(query=["test"], gallery=["test"])


def modality(bands: list[str], display: list[str], units: str = "DN") -> ModalityCard:
    return ModalityCard(
        name="X",
        sensor="x",
        bands=bands,
        size=(4, 4),
        dtype="float32",
        units=units,
        display=display,
    )


@pytest.fixture(scope="module")
def cache(twin_cache: Path) -> Cache:
    return open_cache(twin_cache)


def embeddings_of(cache: Cache, a: np.ndarray, b: np.ndarray) -> Embeddings:
    """Embeddings of the test split, shuffled, since a file's order is its own affair."""
    rows = cache.rows(["test"])
    order = np.random.default_rng(3).permutation(len(rows))
    arrays = {"a/v": a[order], "b/v": b[order]}
    return Embeddings(Path("planted"), cache.ids[rows][order], arrays, SERVES)


def random_embeddings(cache: Cache) -> tuple[Embeddings, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    n = len(cache.rows(["test"]))
    a, b = rng.normal(size=(2, n, 8)).astype(np.float32)
    return embeddings_of(cache, a, b), a, b


def test_nearest_are_the_cosine_nearest_without_the_query_itself(cache: Cache) -> None:
    views, a, b = random_embeddings(cache)
    rows = cache.rows(["test"])
    hits = neighbours_of(cache, views, TEST, rows[:3], 5)
    assert [hit.direction for hit in hits] == [d for d in DIRECTIONS for _ in range(3)]
    unit = {m: x / np.linalg.norm(x, axis=1, keepdims=True) for m, x in (("a", a), ("b", b))}
    for index, hit in enumerate(hits):
        query, gallery = unit[hit.direction[0]][index % 3], unit[hit.direction[1]]
        scores = (gallery @ query).astype(np.float64)
        if hit.direction in ("aa", "bb"):
            scores[index % 3] = -np.inf
        best = np.argsort(-scores)[:5]
        assert hit.items.tolist() == rows[best].tolist()
        np.testing.assert_allclose(hit.scores, scores[best], atol=1e-6)


def count(path: Path, color: str) -> int:
    """Pixels of exactly this colour."""
    image = imread(path)[..., :3]
    return int((np.abs(image - np.array(to_rgb(color))) < 1.5 / 255).all(axis=2).sum())


def test_frames_tell_right_from_wrong(cache: Cache, tmp_path: Path) -> None:
    rows = cache.rows(["test"])
    labels = cache.labels[rows].astype(np.float32)  # type: ignore[index]
    common = int(labels.sum(0).argmax())  # at least six items carry this label
    query = str(cache.ids[rows[int(labels[:, common].argmax())]])
    carries = labels[:, [common]]
    right = embeddings_of(cache, *(np.hstack([carries, 1 - carries]) for _ in range(2)))
    same = {d: SERVES[d] for d in ("aa", "bb")}  # across sensors the own pair would be among them
    arrays = {name: vectors.copy() for name, vectors in right.arrays.items()}
    wrong = Embeddings(right.path, right.ids, arrays, same)
    at = int(np.flatnonzero(right.ids == query)[0])
    mine = set(label_names(cache, int(rows[cache.ids[rows] == query][0])))
    for m in ("a", "b"):  # the query now sits with the items that share nothing with it
        for i, name in enumerate(wrong.ids):
            shares = mine & set(label_names(cache, int(np.flatnonzero(cache.ids == name)[0])))
            arrays[f"{m}/v"][i] = [1, 0] if not shares else [0, 1]
        arrays[f"{m}/v"][at] = [1, 0]
    good = retrieval_grid(cache, right, TEST, tmp_path / "r.png", queries=[query])
    bad = retrieval_grid(cache, wrong, TEST, tmp_path / "w.png", queries=[query])
    frame = 4 * int(sheet.DPI * 1.4)  # pixels around one thumbnail, at the least
    key = 400  # no more than some letters in this colour
    assert count(good, sheet.RIGHT) > 20 * frame and count(good, sheet.WRONG) < key
    assert count(bad, sheet.WRONG) > 10 * frame and count(bad, sheet.RIGHT) < key


def test_captions_name_the_shared_labels(cache: Cache) -> None:
    rows = cache.rows(["test"])
    query = int(rows[0])
    mine = set(label_names(cache, query))
    for item in map(int, rows):
        right, lines = explain_hit(cache, query, item)
        theirs = set(label_names(cache, item))
        assert right == bool(mine & theirs)
        assert len(lines) <= sheet.CAPTION_LINES
        assert all(sheet.text_width(line) <= sheet.CAPTION + 0.01 for line in lines), lines
        if right:
            assert lines[0] == f"shares {len(mine & theirs)} of {len(mine)}, has {len(theirs)}:"


def test_grid_is_the_same_twice_and_pdf_works(cache: Cache, tmp_path: Path) -> None:
    views, _, _ = random_embeddings(cache)
    one = retrieval_grid(cache, views, TEST, tmp_path / "one.png", n_queries=1, k=3)
    two = retrieval_grid(cache, views, TEST, tmp_path / "two.png", n_queries=1, k=3)
    assert one.read_bytes() == two.read_bytes()
    pdf = retrieval_grid(cache, views, TEST, tmp_path / "g.pdf", n_queries=1, k=1)
    assert pdf.read_bytes().startswith(b"%PDF")


def test_grid_refuses_unknown_queries_and_missing_embeddings(cache: Cache, tmp_path: Path) -> None:
    views, _, _ = random_embeddings(cache)
    out = tmp_path / "x.png"
    with pytest.raises(UserError, match="no query named 'nobody'"):
        retrieval_grid(cache, views, TEST, out, queries=["nobody"])
    train = ProtocolCard(query=["train"], gallery=["test"])
    with pytest.raises(UserError, match="have no embedding"):
        retrieval_grid(cache, views, train, out)
    assert not out.exists()


def test_preview_shows_every_pair_asked_for(cache: Cache, tmp_path: Path) -> None:
    few = imread(pair_sheet(cache, tmp_path / "few.png", n=2))
    many = imread(pair_sheet(cache, tmp_path / "many.png", n=9))
    assert many.shape[0] > 2 * few.shape[0] and many.shape[1] > few.shape[1]
    frames = 2 * 9 * 4 * sheet.DPI * 1.4
    assert count(tmp_path / "many.png", sheet.PLAIN) > frames


def test_true_colour_takes_the_named_bands_in_order() -> None:
    card = modality(["B02", "B03", "B04"], ["B04", "B03", "B02"])
    images = np.arange(2 * 3 * 4 * 4, dtype=np.float32).reshape(2, 3, 4, 4)
    assert np.array_equal(channels(images, card), images[:, ::-1])
    assert pictures(images, card).shape == (2, 4, 4, 3)


def test_radar_pairs_add_their_ratio() -> None:
    images = np.full((1, 2, 4, 4), 6.0, np.float32)
    images[:, 1] = 2.0
    db = channels(images, modality(["VV", "VH"], ["VV", "VH"], "dB"))
    power = channels(images, modality(["VV", "VH"], ["VV", "VH"], "power"))
    assert (db[:, 2] == 4.0).all() and (power[:, 2] == 3.0).all()


def test_grey_is_grey_and_keeps_the_level_between_images() -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, 1, 16, 16)).astype(np.float32)
    images[1] += 10
    shown = pictures(images, modality(["VV"], ["VV"], "dB"))
    assert (shown[..., 0] == shown[..., 1]).all() and (shown[..., 0] == shown[..., 2]).all()
    assert shown[1].mean() - shown[0].mean() > 0.3


def test_colour_is_stretched_per_image() -> None:
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(3, 3, 32, 32)).astype(np.float32)
    images[2] *= 100  # one image of snow must not darken the others
    shown = stretch(images)
    assert all(0.4 < shown[i].mean() < 0.6 for i in range(3))


def test_flat_dark_water_stays_dark_and_damage_is_black() -> None:
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(4, 3, 32, 32)).astype(np.float32)
    images[0] = images[0] * 1e-3
    images[1, :, 0, 0] = np.nan
    images[2] = np.nan
    shown = stretch(images)
    assert shown[0].mean() < 0.05
    assert (shown[1, :, 0, 0] == 0).all() and (shown[2] == 0).all() and np.isfinite(shown).all()


LONG = "Land principally occupied by agriculture, with significant areas of natural vegetation"


def test_a_long_label_is_broken_and_not_cut() -> None:
    lines = sheet.label_lines([LONG, "Pastures"], sheet.CAPTION, sheet.CAPTION_LINES)
    assert " ".join(line.strip() for line in lines) == f"{LONG} Pastures"
    assert len(lines) > 3 and all(line.startswith("  ") for line in lines[1:-1])
    assert all(sheet.text_width(line) <= sheet.CAPTION for line in lines)
    assert sheet.label_lines(["a", "b", "c", "d"], sheet.CAPTION, 3) == ["a", "b", "and 2 more"]
    assert sheet.label_lines(["a", "b", "c"], sheet.CAPTION, 3) == ["a", "b", "c"]


def test_text_is_broken_where_it_must_be() -> None:
    word = "S2A_MSIL2A_20170613T101031_87_48_and_more_of_the_same_name"
    lines = sheet.wrap(word, 1.5)
    assert "".join(lines) == word and len(lines) > 1
    assert all(sheet.text_width(line) <= 1.5 for line in lines)
    (cut,) = sheet.wrap(LONG, 1.5, lines=1)
    assert cut.endswith("…") and sheet.text_width(cut) <= 1.5
    assert sheet.wrap("short", 1.5) == ["short"] and sheet.wrap("", 1.5) == []


def test_curves_read_what_training_logged(trained_run: Path, tmp_path: Path) -> None:
    curve = read_curve(trained_run)
    assert curve.loss["loss"][0] == [1, 2] and len(curve.loss["loss"][1]) == 2
    assert "pairs_per_s" not in curve.terms and "CR-JEPA" in curve.title
    image = imread(training_curves([trained_run, trained_run], tmp_path / "c.png"))
    assert image.shape[1] > 1000 and image[..., :3].std() > 0.05
    with pytest.raises(UserError, match="no training log"):
        read_curve(tmp_path)


@pytest.mark.filterwarnings("error")
def test_curves_of_many_epochs_are_drawn_without_a_warning(tmp_path: Path) -> None:
    for epoch in range(1, 31):
        append_jsonl(tmp_path / "metrics.jsonl", {"epoch": epoch, "loss": 1 / epoch, "uni": 0.5})
    write_json(tmp_path / "run.json", {"method": {"title": "CR-JEPA"}, "seed": 0})
    assert imread(training_curves([tmp_path], tmp_path / "c.png"))[..., :3].std() > 0.01


def test_a_run_of_one_epoch_has_whole_epochs_as_ticks_and_shows_its_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = {"map": {"aa": 0.5, "ab": 0.25, "mean": 0.375}, "p@5": {"aa": None, "mean": None}}
    line = {"epoch": 1, "loss": 2.0, "jepa": 1.0, "seconds": 3.0, "val": {"scores": scores}}
    append_jsonl(tmp_path / "metrics.jsonl", line)
    write_json(tmp_path / "run.json", {"method": {"title": "CR-JEPA"}, "seed": 0})
    assert read_curve(tmp_path).scores == {"mAP": ([1], [0.375])}
    figures: list[Any] = []
    monkeypatch.setattr(
        "crbench.draw.sheet.save", lambda figure, out: figures.append(figure) or out
    )
    training_curves([tmp_path], tmp_path / "c.png")
    assert len(figures[0].axes) == 3
    for axes in figures[0].axes:
        low, high = axes.get_xlim()
        assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1.0]


@pytest.mark.parametrize("which", ["a", "b"])
def test_pictures_one_by_one_are_those_of_the_whole(cache: Cache, which: str) -> None:
    card, images = cache.card.modality(which), np.asarray(cache.images(which)[:20])
    usual = usual_limits(images, card)
    one = np.concatenate([pictures(image[None], card, usual) for image in images])
    np.testing.assert_array_equal(one, pictures(images, card))
    assert (one != np.concatenate([pictures(image[None], card) for image in images])).any()
