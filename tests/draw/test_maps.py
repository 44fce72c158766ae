"""Maps: the gap on them is the record's, the planes are those of the library, bytes do not move."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from crbench.data.pair_labels import label_names, relevant
from crbench.draw import maps
from crbench.draw.grids import run_grid
from crbench.draw.maps import item_classes, plane, run_map
from crbench.errors import UserError
from crbench.evaluation.evaluate import evaluate
from crbench.evaluation.recorded import open_evaluated
from crbench.records import Record


@pytest.fixture(scope="module")
def record(trained_run: Path) -> Record:
    return evaluate(trained_run, quiet=True)


def test_the_gap_is_the_distance_of_the_mean_embeddings(record: Record, trained_run: Path) -> None:
    opened = open_evaluated(trained_run)
    ids = opened.cache.ids[opened.cache.rows(["test"])]
    for direction in ("ab", "ba"):
        sides = [
            opened.embeddings.of(name, ids).astype(float)
            for name in opened.embeddings.serves[direction]
        ]
        means = [(x / np.linalg.norm(x, axis=1, keepdims=True)).mean(axis=0) for x in sides]
        by_hand = float(np.linalg.norm(means[0] - means[1]))
        assert record.health["directions"][direction]["gap"] == pytest.approx(by_hand, rel=1e-4)


def test_pca_is_the_two_widest_directions_and_scale_does_not_count() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(60, 5))
    unit = points / np.linalg.norm(points, axis=1, keepdims=True)
    centred = unit - unit.mean(axis=0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    found = plane(points * rng.uniform(0.5, 9, size=(60, 1)), "PCA")
    for axis in (0, 1):
        ours, theirs = found[:, axis], left[:, axis] * values[axis]
        assert min(np.abs(ours - theirs).max(), np.abs(ours + theirs).max()) < 1e-6


def test_tsne_keeps_clusters_apart_and_repeats() -> None:
    rng = np.random.default_rng(0)
    centres = np.eye(8)[:2] * 5
    points = np.concatenate([centre + 0.1 * rng.normal(size=(40, 8)) for centre in centres])
    one, two = plane(points, "t-SNE"), plane(points, "t-SNE")
    assert np.array_equal(one, two)
    spread = max(one[:40].std(axis=0).max(), one[40:].std(axis=0).max())
    assert np.linalg.norm(one[:40].mean(axis=0) - one[40:].mean(axis=0)) > 2 * spread


def test_the_class_of_an_item_is_its_rarest_label(record: Record, trained_run: Path) -> None:
    cache = open_evaluated(trained_run).cache
    rows = cache.rows(["test"])
    labels = cache.labels
    assert labels is not None
    counts = labels.sum(axis=0)
    names = cache.card.labels.classes
    for row, name in zip(rows, item_classes(cache, rows), strict=True):
        mine = np.flatnonzero(labels[row])
        assert name in label_names(cache, int(row))
        assert counts[names.index(name)] == counts[mine].min()


def test_a_map_is_drawn_twice_alike_and_refuses_nonsense(
    record: Record, trained_run: Path, tmp_path: Path
) -> None:
    one = run_map(trained_run, tmp_path / "one.png", items=30)
    two = run_map(trained_run, tmp_path / "two.png", items=30)
    assert one.read_bytes() == two.read_bytes()
    assert imread(one).shape[0] > 1000
    assert run_map(trained_run, tmp_path / "m.pdf", items=12).read_bytes().startswith(b"%PDF")
    with pytest.raises(UserError, match="no direction 'aa' across"):
        run_map(trained_run, tmp_path / "x.png", direction="aa")
    assert not (tmp_path / "x.png").exists()


def test_pictures_of_other_embeddings_are_refused(
    record: Record, trained_run: Path, tmp_path: Path
) -> None:
    other = record.model_copy(update={"digests": {"embeddings": "0" * 64}})
    with pytest.raises(UserError, match="not those of the record"):
        run_map(trained_run, tmp_path / "x.png", record=other)
    dataset = record.dataset.model_copy(update={"cache_digest": "0" * 64})
    with pytest.raises(UserError, match="not the one of the record"):
        run_grid(
            trained_run, tmp_path / "x.png", record=record.model_copy(update={"dataset": dataset})
        )
    assert not (tmp_path / "x.png").exists()


def test_wrong_only_draws_queries_with_a_wrong_item(
    record: Record, trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is drawn is read off the choice that goes to the sheet; the drawing is the same."""
    from crbench.draw import grids

    drawn = {}
    real = grids._chosen

    def chosen(*options: Any) -> Any:
        drawn.update({d: hits for d, (_, hits) in real(*options)[0].items()})
        return real(*options)

    monkeypatch.setattr(grids, "_chosen", chosen)
    path = run_grid(trained_run, tmp_path / "w.png", wrong_only=True, n_queries=2, k=3)
    opened = open_evaluated(trained_run)
    assert imread(path).shape[0] > 500 and drawn.keys() == {"aa", "bb", "ab", "ba"}
    shown = [hit for hits in drawn.values() for hit in hits]
    assert shown and max(map(len, drawn.values())) <= 2
    for hit in shown:
        assert not relevant(opened.cache, hit.query, hit.items).all()
    query = str(opened.cache.ids[opened.cache.rows(["test"])[0]])
    run_grid(trained_run, tmp_path / "q.png", queries=[query], k=2)
    assert {hit.query for hits in drawn.values() for hit in hits} == {
        int(opened.cache.rows(["test"])[0])
    }


def test_every_point_lies_inside_its_panel(
    record: Record, trained_run: Path, tmp_path: Path, drawn: list[Figure],
    all_inside: Callable[[Figure], None], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The coordinates of the last panels are the largest."""
    monkeypatch.setattr(
        maps, "plane", lambda points, how: points[:, :2] * {"PCA": 1, "t-SNE": 99}[how]
    )
    run_map(trained_run, tmp_path / "m.png", items=40)
    (figure,) = drawn
    assert len(figure.axes) == 4
    all_inside(figure)
    for axes in figure.axes:
        points = np.concatenate([dots.get_offsets() for dots in axes.collections])
        assert len(points) == 80  # queries and gallery items
    assert abs(points).max() > 9
