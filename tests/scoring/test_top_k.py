"""The k nearest items: a full sort, FAISS, and ties by id."""

from __future__ import annotations

import brute_force as oracle
import numpy as np
import pytest
from small_sets import make

from crbench.scoring import top_k
from crbench.scoring.tiles import fixed_point


def test_top_k_equals_a_full_sort_with_ties_by_id() -> None:
    parts, items = make(11, 200, width=3)  # many ties
    rng = np.random.default_rng(0)
    ids = rng.permutation(items.ids)
    indices, scores = top_k(parts["a"], parts["b"], 7, items.ids, ids, False)
    q, g = fixed_point(parts["a"], "a"), fixed_point(parts["b"], "b")
    for row in (0, 57, 150, 199):
        line = [oracle.grid_cosine(q[row], x) for x in g]
        expected = sorted(range(200), key=lambda j: (-line[j], ids[j]))[:7]
        assert indices[row].tolist() == expected
        assert scores[row].tolist() == [float(line[j]) for j in expected]


def test_top_k_leaves_the_query_out() -> None:
    parts, items = make(11, 150, width=8, levels=None)
    indices, scores = top_k(parts["a"], parts["a"], 200, items.ids, items.ids, True)
    assert indices.shape == scores.shape == (150, 149)
    assert not (indices == np.arange(150)[:, None]).any()
    first, _ = top_k(parts["a"], parts["a"], 1, items.ids, items.ids, False)
    assert np.array_equal(first[:, 0], np.arange(150))
    assert (np.diff(scores, axis=1) <= 0).all()


def test_top_k_equals_faiss_where_scores_are_apart() -> None:
    faiss = pytest.importorskip("faiss")
    parts, items = make(12, 3000, width=64, levels=None)
    query, gallery = parts["a"][:100], parts["b"]
    ours, scores = top_k(query, gallery, 11, items.ids[:100], items.ids, False)
    index = faiss.IndexFlatIP(64)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (query, gallery)]
    index.add(unit[1])
    theirs = index.search(unit[0], 10)[1]
    gaps = scores[:, :-1] - scores[:, 1:]
    apart = (gaps > 1e-6) & np.concatenate([np.ones((100, 1), bool), gaps[:, :-1] > 1e-6], axis=1)
    assert apart.mean() > 0.9
    assert np.array_equal(ours[:, :10][apart], theirs[apart])
