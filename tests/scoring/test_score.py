"""All of scoring: against enumeration, and under changes that must not matter."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys

import brute_force as oracle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_sets import KS, TITLES, ids_of, make, pairs, score, text, values

from crbench.scoring import Items, metrics, per_query, score_directions
from crbench.scoring.tiles import fixed_point
from crbench.words import DIRECTIONS


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 6), st.sampled_from(["multi", "single"]))
def test_record_equals_enumeration(seed: int, n: int, kind: str) -> None:
    parts, items = make(seed, n, kind=kind)
    result = score(parts, items, kind, resamples=0)
    sets = oracle.label_sets(items.labels, kind)
    codes = {m: fixed_point(parts[m], m) for m in "ab"}
    for d in DIRECTIONS:
        matrix = np.array(
            [[oracle.grid_cosine(q, g) for g in codes[d[1]]] for q in codes[d[0]]], np.float32
        )
        expected = oracle.reference(
            matrix, items.ids, items.ids, sets, sets, KS, exclude_self=d[0] == d[1]
        )
        found = values(result, d)
        assert set(found) <= set(expected)
        for name, value in found.items():
            if expected[name] is None:
                assert value is None
            else:
                assert value == pytest.approx(expected[name], abs=1e-12), name


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(["multi", "single", "none"]), st.booleans())
def test_order_of_gallery_and_queries_changes_no_byte(seed: int, kind: str, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(8, 150))
    parts, items = make(seed, n, width=3, kind=kind, levels=2 if ties else None)
    split = n // 2

    def run(query: np.ndarray, gallery: np.ndarray) -> str:
        def take(rows: np.ndarray) -> Items:
            return Items(items.ids[rows], None if kind == "none" else items.labels[rows])

        return text(
            score_directions(
                pairs(parts, query, gallery),
                take(query),
                take(gallery),
                label_kind=kind,
                classes=() if kind == "none" else TITLES,
            )
        )

    for query, gallery in (
        (np.arange(n), np.arange(n)),
        (np.arange(split), np.arange(split // 2, n)),
    ):
        expected = run(query, gallery)
        assert run(rng.permutation(query), rng.permutation(gallery)) == expected


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


_SCRIPT = """
import hashlib, json, sys
import numpy as np
from crbench.scoring import Items, health, score_directions
rng = np.random.default_rng(0)
n = 700
a, b = rng.standard_normal((2, n, 250)).astype(np.float32)
b[100:200] = b[:100]
items = Items(np.array([f"p{i}" for i in range(n)]), (rng.random((n, 19)) < 0.2).astype(np.uint8))
pairs = {"aa": (a, a), "bb": (b, b), "ab": (a, b), "ba": (b, a)}
result = score_directions(pairs, items, items, label_kind="multi")
result["health"] = health(pairs, result["tied_share"])
assert not {"torch", "faiss", "pandas", "sklearn"} & set(sys.modules)
print(hashlib.sha256(json.dumps(result).encode()).hexdigest())
"""


def test_blas_threads_and_processes_change_no_byte() -> None:
    digests = set()
    for count in ("1", "2"):
        environment = dict(os.environ, OPENBLAS_NUM_THREADS=count, OMP_NUM_THREADS=count)
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(done.stdout)
    assert len(digests) == 1


@pytest.mark.parametrize("kind", ["multi", "single", "none"])
def test_constant_embeddings_give_chance(kind: str) -> None:
    _, items = make(1, 60, kind=kind)
    parts = {m: np.full((60, 5), 0.3, np.float32) for m in "ab"}
    result = score(parts, items, kind, ks=(1, 5, 100))
    for d in DIRECTIONS:
        assert values(result, d) == pytest.approx(result["chance"][d], abs=1e-12)
        assert result["tied_share"][d] == 1.0


def test_chance_with_queries_and_gallery_that_overlap_in_part() -> None:
    parts, items = make(2, 60)
    parts = {m: np.full((60, 5), -2.0, np.float32) for m in "ab"}
    query, gallery = np.arange(40), np.arange(25, 60)
    result = score_directions(
        pairs(parts, query, gallery),
        Items(items.ids[query], items.labels[query]),
        Items(items.ids[gallery], items.labels[gallery]),
        label_kind="multi",
        ks=KS,
    )
    for d in DIRECTIONS:
        assert values(result, d) == pytest.approx(result["chance"][d], abs=1e-12)
    assert result["counts"]["aa"]["n_self_excluded"] == 15
    assert result["counts"]["ab"]["n_queries_with_pair"] == 15
    assert result["scores"]["ab"]["pair_r@5"]["value"] == pytest.approx(5 / 35)


def test_chance_is_where_random_embeddings_stand() -> None:
    parts, items = make(4, 600, width=32, levels=None)
    result = score(parts, items, ks=(5,))
    for d in DIRECTIONS:
        for name, cell in result["scores"][d].items():
            if not name.startswith("f1_query"):  # its chance is that of the expectations
                spread = cell["high"] - cell["low"]
                assert abs(cell["value"] - result["chance"][d][name]) < 2 * spread, (d, name)


def test_perfect_embeddings_give_one() -> None:
    n = 90
    labels = np.arange(n) % 3
    parts = {m: np.eye(3, dtype=np.float32)[labels] for m in "ab"}
    result = score(parts, Items(ids_of(n), labels), "single", ks=(1, 5))
    for d in DIRECTIONS:
        found = values(result, d)
        assert (found["map"], found["p@1"], found["p@5"]) == (1.0, 1.0, 1.0)
        assert result["scores"][d]["map"]["low"] == 1.0
    hot = Items(ids_of(n), np.eye(3, dtype=np.uint8)[labels])
    for d in DIRECTIONS:
        found = values(score(parts, hot, ks=(1, 5)), d)
        assert {v for k, v in found.items() if not k.startswith("pair")} == {1.0}
    own = {m: np.random.default_rng(0).standard_normal((n, 16)).astype(np.float32) for m in "a"}
    own["b"] = own["a"]
    assert values(score(own, hot), "ab")["pair_r@1"] == 1.0


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


def test_scale_of_the_embeddings_changes_nothing() -> None:
    parts, items = make(5, 80, width=7, levels=None)
    scaled = {m: np.ldexp(x, np.arange(80)[:, None] % 40 - 20) for m, x in parts.items()}
    assert text(score(parts, items)) == text(score(scaled, items))


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


def test_per_class_means_are_over_the_queries_of_a_class() -> None:
    parts, items = make(9, 50, levels=None)
    result = score(parts, items)
    part = per_query(pairs(parts), items, items, label_kind="multi", ks=KS)["ab"]
    for c, title in enumerate(TITLES):
        has = items.labels[:, c] == 1  # ids are in sorted order already
        found = result["per_class"]["ab"]
        assert found["f1_item@5"][title] == pytest.approx(part.values["f1_item@5"][has].mean())
        p, r = (part.values[f"label_{x}@5"][has].mean() for x in "pr")
        assert found["f1_dataset@5"][title] == pytest.approx(2 * p * r / (p + r))


def test_more_than_64_classes() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random((12, 130)) < 0.02).astype(np.uint8)
    labels[:6, 129] = 1
    parts = {m: rng.standard_normal((12, 4)).astype(np.float32) for m in "ab"}
    result = score_directions(
        pairs(parts), Items(ids_of(12), labels), Items(ids_of(12), labels), label_kind="multi"
    )
    shared = (labels.astype(int) @ labels.T > 0).mean()
    assert result["chance"]["ab"]["p@5"] == pytest.approx(shared)


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
