"""Grids: what is shown is what the scorer ranks, framed as the labels say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from crbench.cards import ProtocolCard
from crbench.data.cache.reading import Cache
from crbench.data.pair_labels import label_names
from crbench.draw import sheet
from crbench.draw.grids import explain_hit, neighbours_of, retrieval_grid
from crbench.embedding.file import Embeddings
from crbench.errors import UserError

DIRECTIONS = ("aa", "bb", "ab", "ba")
SERVES = {direction: (f"{direction[0]}/v", f"{direction[1]}/v") for direction in DIRECTIONS}
TEST = ProtocolCard(query=["test"], gallery=["test"])


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
