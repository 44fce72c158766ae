"""Who is ranked against whom: bad input is named by array and row, ids find their places."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from small_sets import ids_of, make, pairs

from crbench.errors import UserError
from crbench.scoring import Items, score_directions
from crbench.scoring.protocol import check_directions, check_distinct, check_ks, positions_of


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


def test_directions_and_cut_offs_stand_in_one_order() -> None:
    assert check_directions(["ba", "aa"]) == ("aa", "ba")
    assert check_ks([10, 1, 10, 5]) == (1, 5, 10)
    for bad_ks in ([1.5], [0], [-1, 5]):
        with pytest.raises(UserError, match="k is"):
            check_ks(bad_ks)
    with pytest.raises(UserError, match="no direction to score"):
        check_directions([])


def test_positions_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(0)
    within = rng.permutation(ids_of(40))[:30]
    ids = rng.permutation(ids_of(50))[:20]
    order = within.tolist()
    expected = [order.index(name) if name in order else -1 for name in ids.tolist()]
    assert -1 in expected and positions_of(ids, within).tolist() == expected


def test_the_first_two_rows_of_a_repeated_id_are_named() -> None:
    ids = np.array(["c", "a", "b", "a", "c", "a"])
    with pytest.raises(UserError, match=r"'a' repeats \(3 repeated in all\)") as caught:
        check_distinct(ids, where="ids", fix="")
    assert caught.value.where == "ids, rows 1 and 3"
    check_distinct(ids[:3], where="ids", fix="")
