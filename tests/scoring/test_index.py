"""FAISS proposes, exact scores decide: equal ids where scores are apart, recall where they err."""

from __future__ import annotations

import numpy as np
import pytest
from small_sets import ids_of, make, pairs

from crbench.errors import UserError
from crbench.scoring import Items, score_directions, top_k
from crbench.scoring.index import (
    INDEX_KINDS,
    Candidates,
    Index,
    exact_scores,
    measure_candidates,
    recall,
)
from crbench.scoring.metrics import WHOLE_METRICS, make_task
from crbench.scoring.tiles import fixed_point, score_tile, workers
from crbench.words import DIRECTIONS

faiss = pytest.importorskip("faiss")


def gaps_of(scores: np.ndarray) -> np.ndarray:
    """Where both neighbours of a score (n, k + 1) are more than 1e-6 away, (n, k)."""
    apart = scores[:, :-1] - scores[:, 1:] > 1e-6
    return apart & np.concatenate([np.ones((len(scores), 1), bool), apart[:, :-1]], axis=1)


def check_flat(n: int, width: int) -> None:
    parts, items = make(12, n, width=width, levels=None)
    parts["b"][n // 2 : n // 2 + 50] = parts["b"][:50]  # equal scores
    args = parts["a"][:100], parts["b"]
    ours, scores = top_k(*args, 101, items.ids[:100], items.ids, False)
    theirs, found = top_k(*args, 100, items.ids[:100], items.ids, False, index="flat")
    apart = gaps_of(scores)
    assert apart.mean() > 0.6
    assert np.array_equal(ours[:, :100][apart], theirs[apart])
    assert np.array_equal(scores[:, :100][apart], found[apart])


def test_flat_ids_equal_the_exact_ones_where_scores_are_apart() -> None:
    check_flat(3000, 64)


@pytest.mark.skipif(faiss.get_num_gpus() == 0, reason="no GPU that FAISS can use here")
def test_flat_ids_on_a_gpu_equal_the_exact_ones_where_scores_are_apart() -> None:
    check_flat(20_000, 256)
    assert Index("flat", fixed_point(np.eye(8, dtype=np.float32), "x"), 4).parameters["gpus"] >= 1


@pytest.mark.parametrize("kind", INDEX_KINDS)
def test_the_query_itself_is_left_out_and_ties_stand_by_id(kind: str) -> None:
    parts, items = make(3, 60, width=8, levels=None)
    parts["a"][30:40] = parts["a"][20:30]  # of two equal items the smaller id comes first
    ids = np.random.default_rng(0).permutation(items.ids)
    expected, scores = top_k(parts["a"], parts["a"], 59, ids, ids, True)
    found, theirs = top_k(parts["a"], parts["a"], 59, ids, ids, True, index=kind)
    assert np.array_equal(found, expected)  # k is everything: candidates that lack are looked up
    assert np.array_equal(theirs, scores)


def test_candidates_are_scored_to_the_bit() -> None:
    x = np.random.default_rng(0).standard_normal((90, 250)).astype(np.float32)
    codes = fixed_point(x, "x")
    with workers(1) as run:
        whole = score_tile(codes[:64], codes, np.empty((128, 90), np.float32), run)
    places = np.random.default_rng(1).integers(0, 90, (64, 20))
    assert np.array_equal(
        exact_scores(codes[:64], codes, places), np.take_along_axis(whole, places, 1)
    )


def test_an_unknown_index_is_named() -> None:
    with pytest.raises(UserError, match="unknown index 'ivff'"):
        top_k(np.eye(3), np.eye(3), 1, ids_of(3), ids_of(3), False, index="ivff")


@pytest.mark.parametrize("label_kind", ["multi", "single", "none"])
def test_metrics_of_all_candidates_are_the_exact_ones(label_kind: str) -> None:
    """With every item a candidate, only what needs the whole list is missing."""
    parts, items = make(4, 70, width=3, kind=label_kind)  # many ties
    args = pairs(parts), items, items
    options = {"label_kind": label_kind, "ks": (1, 5, 70)}
    exact = score_directions(*args, **options)
    found = score_directions(*args, approximate="flat", **options)
    facts = found["approximate"]
    for d in DIRECTIONS:
        expected = {name: cell for name, cell in exact["scores"][d].items()
                    if name not in WHOLE_METRICS}  # fmt: skip
        assert found["scores"][d].keys() == expected.keys()
        for name, cell in expected.items():
            assert found["scores"][d][name] == pytest.approx(cell, abs=1e-12), name
        assert set(facts["recall"][d].values()) == {1.0}
    assert found["tied_share"] == exact["tied_share"]


@pytest.mark.parametrize(("kind", "least"), [("ivf", 0.5), ("hnsw", 0.9)])
def test_measured_recall_and_metrics_near_the_exact_ones(kind: str, least: float) -> None:
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((12, 16))
    labels = rng.integers(0, 12, 3000)
    parts = {m: (centres[labels] + rng.standard_normal((3000, 16))).astype("f4") for m in "ab"}
    items = Items(ids_of(3000), labels)
    args = {"ab": (parts["a"], parts["b"])}, items, items
    found = score_directions(*args, approximate=kind, label_kind="single", ks=(1, 10))
    facts = found["approximate"]
    assert facts["kind"] == kind
    assert facts["parameters"]["ab"]
    assert least < facts["recall"]["ab"]["10"] <= 1
    assert facts["sample"] == 256
    exact = score_directions(*args, label_kind="single", ks=(1, 10))["scores"]["ab"]
    assert "map" not in found["scores"]["ab"]
    assert found["scores"]["ab"]["p@10"]["value"] == pytest.approx(exact["p@10"]["value"], abs=0.02)


def test_recall_counts_what_is_missing() -> None:
    parts, items = make(5, 40, width=6, levels=None, kind="single")
    codes = {m: fixed_point(parts[m], m) for m in "ab"}
    task = make_task("ab", items, items, "single", (1, 4))
    best, scores = top_k(parts["a"], parts["b"], 5, items.ids, items.ids, False)
    lacking = Candidates(best[:, 1:], scores[:, 1:])  # the nearest item of each query is missed
    found = recall(task, codes["a"], codes["b"], lacking, np.arange(40), 1)
    assert found == {"1": 0.0, "4": 0.75}
    part = measure_candidates(task, items.ids, lacking)
    hit = items.labels[best[:, 1]] == items.labels
    assert part.values["p@1"].tolist() == hit.astype(float).tolist()
    gone = best[:, 0] == np.arange(40)
    assert (part.values["pair_r@1"][gone] == 0).all()
