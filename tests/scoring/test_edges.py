"""Edge cases: undefined values, empty label sets, small galleries; bad input named by row."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from small_sets import TITLES, ids_of, make, pairs, score, text, values

from crbench.errors import UserError
from crbench.scoring import Items, score_directions


def test_pair_recall_is_null_where_queries_and_gallery_are_disjoint() -> None:
    parts, items = make(7, 40, levels=None)
    query, gallery = np.arange(10), np.arange(10, 40)
    result = score_directions(
        pairs(parts, query, gallery),
        Items(items.ids[query]),
        Items(items.ids[gallery]),
        label_kind="none",
    )
    null = {"value": None, "low": None, "high": None}
    assert result["scores"]["ab"] == {"pair_r@1": null, "pair_r@5": null}
    assert result["scores"]["aa"] == {}
    assert result["chance"]["ab"] == {"pair_r@1": None, "pair_r@5": None}
    text(result)


def test_queries_without_relevant_items_leave_map_and_are_counted() -> None:
    gallery = Items(ids_of(3, "g"), np.array([0, 0, 1]))
    query = Items(ids_of(2, "q"), np.array([0, 2]))
    e = {"ab": (np.eye(2, dtype=np.float32), np.array([[1, 0], [1, 1], [0, 1]], np.float32))}
    result = score_directions(e, query, gallery, label_kind="single", classes=TITLES, ks=(1, 2))
    assert result["counts"]["ab"]["n_queries_without_relevant"] == 1
    assert values(result, "ab")["map"] == 1.0
    assert values(result, "ab")["p@2"] == 0.5  # the second query counts, with 0
    assert result["per_class"]["ab"]["map"] == {"field": 1.0, "wood": None, "town": None}
    assert result["per_class"]["ab"]["p@1"] == {"field": 1.0, "wood": None, "town": 0.0}


def test_empty_label_sets_score_zero_and_are_counted() -> None:
    gallery = Items(ids_of(2, "g"), np.array([[0, 0], [1, 0]], np.uint8))
    query = Items(ids_of(3, "q"), np.array([[0, 0], [1, 0], [0, 0]], np.uint8))
    e = {"ab": (np.ones((3, 2), np.float32), np.eye(2, dtype=np.float32) + 1)}
    result = score_directions(e, query, gallery, label_kind="multi", ks=(2,))
    counts = result["counts"]["ab"]
    assert (counts["n_empty_labels_query"], counts["n_empty_labels_gallery"]) == (2, 1)
    assert values(result, "ab")["f1_item@2"] == pytest.approx(0.5 / 3)
    assert values(result, "ab")["f1_query@2"] == pytest.approx(0.5 / 3)


def test_k_beyond_the_gallery_is_the_gallery_and_is_recorded() -> None:
    parts, items = make(8, 10, kind="single", levels=None)
    result = score(parts, items, "single", ks=(1, 10, 50))
    assert result["counts"]["aa"]["k_clipped"] == {"10": 9, "50": 9}
    assert result["counts"]["ab"]["k_clipped"] == {"50": 10}
    assert values(result, "ab")["p@50"] == values(result, "ab")["p@10"]


def bad(what: str) -> dict[str, Any]:
    """Arguments of score_directions with one thing wrong."""
    parts, items = make(1, 8, width=4, levels=None)
    e, ids, labels, more = pairs(parts), items.ids.copy(), items.labels.copy(), {}
    if what == "nan":
        e["ba"][0][3, 1] = np.nan
    elif what == "zero":
        e["ab"][1][5] = 0
    elif what == "rows":
        e["aa"] = (parts["a"][:7], parts["a"])
    elif what == "width":
        e["ab"] = (parts["a"], parts["b"][:, :3])
    elif what == "ids":
        ids[6] = ids[2]
    elif what == "labels":
        labels = labels[:7]
    elif what == "label value":
        labels[4, 1] = 2
    elif what == "label dtype":
        labels = labels.astype(float)
    elif what == "no labels":
        labels = None
    elif what == "direction":
        e = {"ac": e["ab"]}
    elif what == "k":
        more["ks"] = (0, 5)
    elif what == "resamples":
        more["resamples"] = 10
    elif what == "classes":
        more["classes"] = ["one"]
    elif what == "kind":
        more["label_kind"] = "mutli"
    items = Items(ids, labels)
    return {"embeddings": e, "query": items, "gallery": items, "label_kind": "multi", **more}


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("nan", r"NaN[\s\S]*bb query embeddings, row 3 \(id 'p003'\)"),
        ("zero", r"zeros alone[\s\S]*embeddings, row 5 \(id 'p005'\)"),
        ("rows", r"7 embeddings for 8 ids[\s\S]*aa query embeddings"),
        ("width", r"4 dimensions, gallery ones 3[\s\S]*ab embeddings"),
        ("ids", r"'p002' repeats[\s\S]*query ids, rows 2 and 6"),
        ("labels", r"shape \(7, 3\)[\s\S]*query labels"),
        ("label value", r"label 2 [\s\S]*query labels, row 4 \(id 'p004'\)"),
        ("label dtype", r"float64[\s\S]*query labels"),
        ("no labels", r"needs labels[\s\S]*query labels"),
        ("direction", r"unknown direction 'ac'"),
        ("k", r"k is 0"),
        ("resamples", r"10 resamples"),
        ("classes", r"3 label columns for 1 classes"),
        ("kind", r"unknown label kind 'mutli'[\s\S]*multi"),
    ],
)
def test_bad_input_is_named(what: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        score_directions(**bad(what))
    assert re.search(message, str(caught.value)), str(caught.value)


def test_empty_query_or_gallery_is_refused() -> None:
    parts, items = make(1, 5, kind="none", levels=None)
    none = Items(np.array([], dtype=str))
    for query, gallery, role in ((none, items, "query"), (items, none, "gallery")):
        e = {"ab": (parts["a"][: len(query)], parts["b"][: len(gallery)])}
        with pytest.raises(UserError, match=f"the {role} is empty"):
            score_directions(e, query, gallery, label_kind="none")
    one = Items(items.ids[:1])
    with pytest.raises(UserError, match="once the query itself is left out"):
        score_directions({"aa": (parts["a"][:1],) * 2}, one, one, label_kind="none")
