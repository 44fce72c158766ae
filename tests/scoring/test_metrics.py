"""Values per query: as they are defined, null where undefined, and the same to the bit whatever the
block sizes, the threads, the batches of queries, and under monotone maps of the scores."""

from __future__ import annotations

import hashlib

import brute_force as oracle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_sets import TITLES, ids_of, make, pairs, score, text, values

from crbench.errors import UserError
from crbench.scoring import Items, metrics, per_query, score_directions
from crbench.scoring.metrics import empty_values, make_task, rank_rows
from crbench.scoring.tiles import workers
from crbench.words import DIRECTIONS

KINDS = st.sampled_from(["multi", "single", "none"])


def blob(measured: dict) -> bytes:
    parts = [v.tobytes() for part in measured.values() for v in part.values.values()]
    return b"".join(parts) + repr([part.tied_share for part in measured.values()]).encode()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), KINDS, st.integers(1, 70), st.integers(1, 90), st.integers(1, 40))
def test_block_sizes_change_no_bit(seed: int, kind: str, rows: int, wide: int, fit: int) -> None:
    """Tiles of any shape, and any number of queries that the memory at hand has room for."""
    parts, items = make(seed, 61, width=5, kind=kind, levels=2 if seed % 2 else None)
    expected = blob(per_query(pairs(parts), items, items, label_kind=kind, threads=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "rows_in_memory", lambda n, most: min(fit, most))
        patch.setattr(metrics, "QUERY_TILE", rows)
        patch.setattr(metrics, "GALLERY_TILE", wide)
        found = per_query(pairs(parts), items, items, label_kind=kind, threads=1)
    assert blob(found) == expected


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), KINDS, st.integers(1, 30))
def test_a_batch_of_queries_gets_the_values_that_they_get_together(
    seed: int, kind: str, size: int
) -> None:
    parts, items = make(seed, 31, width=3, kind=kind)
    whole = per_query(pairs(parts), items, items, label_kind=kind, threads=1)
    rows = np.arange(size)
    few = Items(items.ids[:size], None if kind == "none" else items.labels[:size])
    batch = per_query(pairs(parts, rows), few, items, label_kind=kind, threads=1)
    for direction, part in batch.items():
        for name, found in part.values.items():
            assert found.tobytes() == whole[direction].values[name][:size].tobytes()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from(["multi", "single"]),
    st.lists(st.floats(0.001, 10), min_size=9, max_size=9),
)
def test_a_monotone_map_of_the_scores_changes_no_bit(seed: int, kind: str, steps: list) -> None:
    """Any increasing map of the nine levels to other float32 values, ties staying ties."""
    rng = np.random.default_rng(seed)
    _, items = make(seed, 40, kind=kind)
    levels = rng.integers(0, 9, (40, 40))
    other = (np.cumsum(steps) - 20).astype(np.float32)
    task = make_task("ab", items, items, kind, (1, 5, 50))
    seen = set()
    for values_of in (np.arange(9, dtype=np.float32), other):
        found = empty_values(task)
        with workers(1) as run:
            tied = rank_rows(task, np.arange(40), values_of[levels], found, run)
        arrays = (found.whole, found.precision, found.gain, found.items, found.pair)
        seen.add((tied, b"".join(x.tobytes() for x in arrays)))
    assert len(seen) == 1


@pytest.mark.parametrize("kind", ["multi", "single"])
def test_two_points_get_the_value_of_their_two_groups(kind: str) -> None:
    """All images of class 0 on one point, the others on another: chance inside each."""
    n = 60
    labels = np.arange(n) % 3
    points = np.array([[1.0, 0.0], [-0.5, 1.0]], np.float32)
    parts = dict.fromkeys("ab", points[(labels > 0).astype(int)])
    given_labels = labels if kind == "single" else np.eye(3, dtype=np.uint8)[labels]
    result = score(parts, Items(ids_of(n), given_labels), kind, ks=(1, 5))
    for d in DIRECTIONS:
        inside = 1.0 if d in ("ab", "ba") else 0.0  # the query itself is left out
        found = result["per_class"][d]
        assert found["p@5"][TITLES[0]] == pytest.approx(1.0)
        half = (20 - 1 + inside) / (40 - 1 + inside)
        for title in TITLES[1:]:
            assert found["p@5"][title] == pytest.approx(half)
        assert result["tied_share"][d] == 1.0
        assert values(result, d)["p@1"] == pytest.approx((1 + 2 * half) / 3)


def test_an_encoder_of_nan_is_refused_by_name() -> None:
    parts, items = make(0, 9, levels=None)
    parts["b"][:] = np.nan
    with pytest.raises(UserError, match="NaN") as caught:
        score(parts, items)
    assert caught.value.where.startswith("bb query embeddings, row 0")


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
    assert result["scores"]["ab"] == {f"pair_r@{k}": null for k in (1, 5, 10)}
    assert result["scores"]["aa"] == {}
    assert result["chance"]["ab"] == {f"pair_r@{k}": None for k in (1, 5, 10)}
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


def test_k_beyond_the_gallery_is_the_gallery_and_is_recorded() -> None:
    parts, items = make(8, 10, kind="single", levels=None)
    result = score(parts, items, "single", ks=(1, 10, 50))
    assert result["counts"]["aa"]["k_clipped"] == {"10": 9, "50": 9}
    assert result["counts"]["ab"]["k_clipped"] == {"50": 10}
    assert values(result, "ab")["p@50"] == values(result, "ab")["p@10"]


@pytest.mark.parametrize("kind", ["multi", "single", "none"])
def test_threads_and_tiles_change_no_byte(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parts, items = make(3, 300, width=40, kind=kind, levels=None)
    found = set()
    for threads, tile in ((1, (128, 2048)), (2, (128, 2048)), (3, (7, 90)), (1, (300, 41))):
        monkeypatch.setattr(metrics, "QUERY_TILE", tile[0])
        monkeypatch.setattr(metrics, "GALLERY_TILE", tile[1])
        measured = per_query(pairs(parts), items, items, label_kind=kind, threads=threads)
        blob = b"".join(v.tobytes() for part in measured.values() for v in part.values.values())
        found.add((hashlib.sha256(blob).hexdigest(), measured["ab"].tied_share))
    assert len(found) == 1


def test_the_three_f1_differ_as_defined() -> None:
    """One query {0, 1}, top 2 of sets {0} and {0, 1, 2}: P = 1, 2/3; R' = 1/2, 1."""
    gallery = Items(ids_of(3, "g"), np.array([[1, 0, 0], [1, 1, 1], [0, 0, 1]], np.uint8))
    query = Items(ids_of(2, "q"), np.array([[1, 1, 0], [0, 0, 1]], np.uint8))
    e = {"ab": (np.array([[1, 0], [0, 1]], np.float32), np.array([[2, 1], [1, 1], [0, 1]], "f4"))}
    found = values(score_directions(e, query, gallery, label_kind="multi", ks=(2,)), "ab")
    p, r = (5 / 6, (1 + 1 / 3) / 2), (3 / 4, 1.0)  # second query: {2}, then {0, 1, 2}
    assert found["label_p@2"] == pytest.approx(sum(p) / 2)
    assert found["label_r@2"] == pytest.approx(sum(r) / 2)
    assert found["f1_item@2"] == pytest.approx(((2 / 3 + 4 / 5) / 2 + (1 + 1 / 2) / 2) / 2)
    each = [oracle.harmonic(x, y) for x, y in zip(p, r, strict=True)]
    assert found["f1_query@2"] == pytest.approx(sum(each) / 2)
    assert found["f1_dataset@2"] == pytest.approx(oracle.harmonic(sum(p) / 2, sum(r) / 2))
    assert len({round(found[f"f1_{x}@2"], 6) for x in ("item", "query", "dataset")}) == 3


def test_same_modal_leaves_the_query_out_and_cross_modal_keeps_its_pair() -> None:
    parts, items = make(6, 30, width=16, levels=None, kind="single")
    parts["b"] = parts["a"]
    result = score(parts, items, "single")
    assert result["counts"]["aa"]["n_self_excluded"] == 30
    assert result["counts"]["ab"]["n_self_excluded"] == 0
    assert values(result, "ab")["pair_r@1"] == 1.0
    assert values(result, "ab")["p@1"] == 1.0  # the pair itself, of the same class
    assert values(result, "aa")["p@1"] < 1.0
    assert "pair_r@1" not in values(result, "aa")


def test_tied_share_of_duplicates() -> None:
    parts, items = make(1, 20, width=30, levels=None)
    parts["b"][10:] = parts["b"][:10]
    result = score(parts, items)
    assert result["tied_share"]["ab"] == 1.0
    assert result["tied_share"]["aa"] == 0.0


def test_progress_reaches_the_end() -> None:
    parts, items = make(1, 300, kind="none", levels=None)
    seen: list[tuple[str, int, int]] = []
    score(parts, items, "none", progress=lambda *step: seen.append(step))
    assert [s for s in seen if s[0] == "ab"] == [
        ("ab", 128, 300),
        ("ab", 256, 300),
        ("ab", 300, 300),
    ]
