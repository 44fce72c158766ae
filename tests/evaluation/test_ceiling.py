"""Ceilings of twins: 1 where nothing is hidden, honest where something is, in record and table."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from crbench import train
from crbench.board.rows import boards
from crbench.board.writers import board_markdown
from crbench.cards import load_dataset
from crbench.data.cache.build import build_cache
from crbench.data.cache.reading import Cache, open_cache
from crbench.evaluation.ceiling import ceilings
from crbench.evaluation.evaluate import evaluate, query_and_gallery
from crbench.words import DIRECTIONS

SMALL = ["source.splits.train=16", "source.splits.val=8"]


def cache_of(folder: Path, name: str, *keys: str) -> Cache:
    card = load_dataset(name, overrides=[*SMALL, *(f"source.{key}" for key in keys)])
    return open_cache(build_cache(card, folder / "c.h5", quiet=True))


def found(data: Cache) -> dict[str, dict[str, float | None]]:
    query, gallery = query_and_gallery(data, data.card.protocols[data.card.protocol])
    return ceilings(data, query, gallery, DIRECTIONS, (5,))


@pytest.mark.parametrize(
    ("name", "metrics"),
    [("ben-14k-twin-2", {"map", "p@5", "f1_item@5"}), ("cbrsir-vs-twin-2", {"map", "p@5"})],
)
def test_nothing_hidden_is_nothing_lost(tmp_path: Path, name: str, metrics: set[str]) -> None:
    """Every class told apart and no change: each query's items are the best that are there."""
    split = "test" if name.startswith("ben") else "query"
    keys = ["alike_a=[]", "alike_b=[]", "change=0", f"splits.{split}=60"]
    data = cache_of(tmp_path, name, *keys)
    for values in found(data).values():
        assert set(values) == metrics
    values = found(data)["ab"]
    if name.startswith("cbrsir"):
        assert values["map"] == pytest.approx(1)
        return
    labels = data.labels[data.rows(["test"])].astype(float)
    shared, sizes = labels @ labels.T, labels.sum(1)
    best = np.sort(2 * shared / (sizes[:, None] + sizes), axis=1)[:, -5:].mean()
    assert values["f1_item@5"] == pytest.approx(best)
    assert values["map"] == pytest.approx(1)


def test_what_is_hidden_costs_what_it_should(tmp_path: Path) -> None:
    """Two classes alike for both sensors, equally frequent: half of what looks right is right."""
    pair = '[["River", "Highway"]]'
    keys = [f"alike_a={pair}", f"alike_b={pair}", "change=0", "imbalance=1", "splits.query=400"]
    data = cache_of(tmp_path, "cbrsir-vs-twin-2", *keys, "splits.train=4000")
    values = found(data)
    labels = data.labels[data.rows(["query"])]
    inside = np.isin(labels, [data.card.labels.classes.index(c) for c in ("River", "Highway")])
    assert values["ab"]["p@5"] == pytest.approx(1 - inside.mean() / 2, abs=0.02)
    assert values["aa"]["p@5"] == pytest.approx(1 - inside.mean() / 2, abs=0.02)


def test_record_and_board_show_it_beside_chance_and_never_as_a_method(
    tmp_path: Path, make_record: Callable
) -> None:
    data = cache_of(tmp_path, "ben-14k-twin-2", "splits.test=30")
    train("random", "ben-14k-twin-2", scale="tiny", cache=data.path, out=tmp_path / "r", quiet=True)
    record = evaluate(tmp_path / "r", quiet=True)
    assert record.ceiling is not None
    for direction in DIRECTIONS:
        top, cell = record.ceiling[direction]["f1_item@5"], record.scores[direction]["f1_item@5"]
        assert record.chance[direction]["f1_item@5"] < top <= 1 and cell.value < top
    (board,) = boards([record])
    assert [row.label for row in board.rows[-2:]] == ["ceiling", "chance"]
    assert not [key for key in board.best if key[0] == "ceiling"]
    text = board_markdown([board])
    assert "\n| ceiling |" in text and "computed, not run" in text
    assert "ceiling" not in board_markdown(boards([make_record()]))
    assert make_record().ceiling is None
