"""What labels say of an item: equal sets are one code, and P, R' and F1 of two sets."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from brute_force import average_precision, expectation, precision_at
from small_sets import ids_of, make, score, values

from crbench.errors import UserError
from crbench.scoring import Items, score_directions
from crbench.scoring.relevance import judge_labels, relevance_of


def test_empty_label_sets_score_zero_and_are_counted() -> None:
    gallery = Items(ids_of(2, "g"), np.array([[0, 0], [1, 0]], np.uint8))
    query = Items(ids_of(3, "q"), np.array([[0, 0], [1, 0], [0, 0]], np.uint8))
    e = {"ab": (np.ones((3, 2), np.float32), np.eye(2, dtype=np.float32) + 1)}
    result = score_directions(e, query, gallery, label_kind="multi", ks=(2,))
    counts = result["counts"]["ab"]
    assert (counts["n_empty_labels_query"], counts["n_empty_labels_gallery"]) == (2, 1)
    assert values(result, "ab")["f1_item@2"] == pytest.approx(0.5 / 3)
    assert values(result, "ab")["f1_query@2"] == pytest.approx(0.5 / 3)


@pytest.mark.parametrize("kind", ["multi", "single"])
def test_codes_and_values_are_those_of_sets(kind: str) -> None:
    """Against Python's sets, whatever the order of the items."""
    _, items = make(3, 40, kind=kind)
    query, gallery = Items(items.ids[:15], items.labels[:15]), Items(items.ids, items.labels)
    found = relevance_of(query, gallery, kind)
    assert found is not None and found.kind == kind
    sets = [
        {int(label)} if kind == "single" else set(np.flatnonzero(label).tolist())
        for label in items.labels
    ]
    for q in range(15):
        relevant, judged = judge_labels(found, int(found.query[q]))
        for g in range(40):
            shared, code = sets[q] & sets[g], int(found.gallery[g])
            assert relevant[code] == bool(shared)
            assert (found.gallery[g] == found.query[q]) == (sets[q] == sets[g])
            if judged is not None:
                p = len(shared) / max(1, len(sets[g]))
                r = len(shared) / max(1, len(sets[q]))
                f1 = 2 * p * r / (p + r) if shared else 0.0
                assert judged[:, code] == pytest.approx([p, r, f1])
    assert (judged is None) == (kind == "single")


def test_codes_do_not_depend_on_the_order_of_the_items() -> None:
    _, items = make(4, 30)
    order = np.random.default_rng(0).permutation(30)
    mixed = Items(items.ids[order], items.labels[order])
    straight, shuffled = relevance_of(items, items, "multi"), relevance_of(mixed, mixed, "multi")
    assert straight is not None and shuffled is not None
    assert np.array_equal(straight.sets, shuffled.sets)
    assert np.array_equal(straight.gallery[order], shuffled.gallery)


def test_without_labels_nothing_is_relevant_by_label() -> None:
    _, items = make(5, 6, kind="none")
    assert relevance_of(items, items, "none") is None


def test_what_lies_within_the_radius_is_relevant() -> None:
    """Against distances by hand, the edge included; equal places share a code."""
    _, items = make(6, 50, kind="place")
    query = Items(items.ids[:20], positions=items.positions[:20], radius_m=100.0)
    found = relevance_of(query, items, "place")
    assert found is not None and len(found.sets) < 50
    for q in range(20):
        relevant, judged = judge_labels(found, int(found.query[q]))
        away = np.linalg.norm(items.positions - items.positions[q], axis=1)
        assert relevant[found.gallery].tolist() == (away <= 100).tolist() and judged is None
    assert {0.0, 100.0} < set(np.linalg.norm(items.positions - items.positions[0], axis=1))


def test_scores_by_place_are_those_of_brute_force_wherever_the_ground_lies() -> None:
    """Over every order that ties allow; turning and moving the ground changes nothing."""
    parts, items = make(7, 7, kind="place", levels=1)
    result = score(parts, items, "place")
    for direction in ("ab", "aa"):
        expected = {"map": [], "p@2": []}
        for q in range(7):
            near = np.linalg.norm(items.positions - items.positions[q], axis=1) <= 100
            left = [g for g in range(7) if not (direction == "aa" and g == q)]
            vectors = [
                parts[direction[1]][g] / np.linalg.norm(parts[direction[1]][g]) for g in left
            ]
            scores = [float(np.float32(v @ parts["a"][q])) for v in vectors]
            hits = {i for i, g in enumerate(left) if near[g]}
            expected["p@2"].append(
                expectation(scores, lambda order, hits=hits: precision_at(order, hits, 2))
            )
            if hits:
                expected["map"].append(
                    expectation(scores, lambda order, hits=hits: average_precision(order, hits))
                )
        for name, per_query in expected.items():
            assert values(result, direction)[name] == pytest.approx(np.mean(per_query), abs=1e-9)
    turn = np.linalg.qr(np.random.default_rng(0).standard_normal((3, 3)))[0]
    moved = replace(items, positions=items.positions @ turn + 5e6, radius_m=100.001)
    assert (
        score(parts, moved, "place")["scores"]
        == score(parts, replace(items, radius_m=100.001), "place")["scores"]
    )


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"radius_m": None}, "needs positions and a radius"),
        ({"positions": None}, "needs positions and a radius"),
        ({"positions": np.zeros((3, 2))}, "shape"),
        ({"positions": np.full((9, 3), np.nan)}, "no number"),
    ],
)
def test_places_that_are_none_are_refused(change: dict, match: str) -> None:
    parts, items = make(1, 9, kind="place")
    with pytest.raises(UserError, match=match):
        score(parts, replace(items, **change), "place")
