"""What labels say of an item: equal sets are one code, and P, R' and F1 of two sets."""

from __future__ import annotations

import numpy as np
import pytest
from small_sets import ids_of, make, values

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
    assert found is not None and found.multi == (kind == "multi")
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
