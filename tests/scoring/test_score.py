"""All of scoring: against enumeration, and under changes that must not matter."""

from __future__ import annotations

import os
import subprocess
import sys

import brute_force as oracle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_sets import KS, TITLES, ids_of, make, pairs, score, text, values

from crbench.scoring import Items, per_query, score_directions
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
                resamples=0 if seed % 3 else 1000,  # intervals follow from the values
            )
        )

    for query, gallery in (
        (np.arange(n), np.arange(n)),
        (np.arange(split), np.arange(split // 2, n)),
    ):
        expected = run(query, gallery)
        assert run(rng.permutation(query), rng.permutation(gallery)) == expected


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


def test_scale_of_the_embeddings_changes_nothing() -> None:
    parts, items = make(5, 80, width=7, levels=None)
    scaled = {m: np.ldexp(x, np.arange(80)[:, None] % 40 - 20) for m, x in parts.items()}
    assert text(score(parts, items)) == text(score(scaled, items))


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


def test_intervals_by_block_stay_within_what_can_be() -> None:
    """Own pairs found in one block of twelve: stretched about the mean, the bound lies below 0."""
    n = 120
    blocks = np.repeat(np.arange(12), 10).astype(str)
    rng = np.random.default_rng(2)
    parts = {m: rng.standard_normal((n, 64)).astype(np.float32) for m in "ab"}
    parts["b"][:6] = parts["a"][:6]
    result = score(parts, Items(ids_of(n), np.arange(n) % 3, blocks=blocks), "single", ks=(1, 5))
    for direction in ("ab", "ba"):
        cell = result["scores"][direction]["pair_r@1"]
        assert cell["low"] == 0.0 and 0.04 < cell["value"] < cell["high"] <= 1.0
