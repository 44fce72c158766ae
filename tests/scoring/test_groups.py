"""Leaving out what is from the query's own place: against enumeration, and what must not change."""

from __future__ import annotations

import dataclasses

import brute_force as oracle
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_sets import KS, TITLES, ids_of, make, pairs, score, text, values

from crbench.errors import UserError
from crbench.scoring import Items, score_directions, top_k
from crbench.scoring.tiles import fixed_point
from crbench.words import DIRECTIONS


def in_groups(items: Items, groups: np.ndarray) -> Items:
    return dataclasses.replace(items, groups=groups)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 7), st.sampled_from(["multi", "single"]))
def test_scores_and_chance_equal_enumeration(seed: int, n: int, kind: str) -> None:
    rng = np.random.default_rng(seed)
    parts, items = make(seed, n, kind=kind)
    groups = np.array([f"t{k}" for k in rng.integers(0, 3, n)])
    if len(set(groups)) == 1:
        groups[0] = "elsewhere"
    result = score(parts, in_groups(items, groups), kind, resamples=0)
    sets = oracle.label_sets(items.labels, kind)
    codes = {m: fixed_point(parts[m], m) for m in "ab"}
    for d in DIRECTIONS:
        matrix = np.array(
            [[oracle.grid_cosine(q, g) for g in codes[d[1]]] for q in codes[d[0]]], np.float32
        )
        for given_scores, found in (
            (matrix, values(result, d)),
            (np.zeros_like(matrix), result["chance"][d]),  # every score tied: chance
        ):
            expected = oracle.reference(
                given_scores, items.ids, items.ids, sets, sets, KS, d[0] == d[1], (groups, groups)
            )
            for name, value in found.items():
                if expected.get(name) is None:
                    assert value is None, name
                else:
                    assert value == pytest.approx(expected[name], abs=1e-12), name
        left_out = np.mean([(groups == g).sum() for g in groups])
        assert result["counts"][d]["n_group_excluded_mean"] == pytest.approx(left_out)


def test_the_own_pair_is_left_out_with_its_group_and_stays_without() -> None:
    parts, items = make(0, 12, levels=None)
    gallery = in_groups(items, np.array(["x"] * 6 + ["y"] * 6))
    elsewhere = in_groups(items, np.array(["z"] * 12))
    inside = score_directions(
        pairs(parts), gallery, gallery, label_kind="multi", classes=TITLES, ks=KS, resamples=0
    )
    assert inside["scores"]["ab"]["pair_r@1"]["value"] is None
    assert inside["counts"]["ab"]["n_queries_with_pair"] == 0
    assert inside["counts"]["aa"]["k_clipped"] == {}
    apart = score_directions(
        pairs(parts), elsewhere, gallery, label_kind="multi", classes=TITLES, ks=KS, resamples=0
    )
    plain = score(parts, items, resamples=0)
    for d in DIRECTIONS:  # nothing is in the queries' group: the same as without groups
        assert values(apart, d) == values(plain, d)


def test_each_item_in_a_group_of_its_own_is_leave_one_out() -> None:
    parts, items = make(4, 60, levels=None)
    plain, alone = score(parts, items), score(parts, in_groups(items, items.ids))
    for d in ("aa", "bb"):
        assert text({"scores": plain["scores"][d]}) == text({"scores": alone["scores"][d]})
        assert plain["chance"][d] == alone["chance"][d]


def test_the_nearest_are_from_other_groups() -> None:
    rng = np.random.default_rng(0)
    parts, items = make(7, 200, width=16, kind="none", levels=None)
    groups = np.array([f"t{k}" for k in rng.integers(0, 8, 200)])
    ids = items.ids
    found, _ = top_k(parts["a"], parts["a"], 9, ids, ids, True, groups=(groups, groups))
    unit = parts["a"] / np.linalg.norm(parts["a"], axis=1, keepdims=True)
    similarity = np.where(groups[:, None] == groups[None], -np.inf, unit @ unit.T)
    np.testing.assert_array_equal(found, np.argsort(-similarity, axis=1)[:, :9])
    indexed, _ = top_k(
        parts["a"], parts["a"], 9, ids, ids, True, groups=(groups, groups), index="flat"
    )
    np.testing.assert_array_equal(indexed, found)


def test_groups_that_do_not_fit_or_leave_nothing_are_refused() -> None:
    parts, items = make(0, 6)
    with pytest.raises(UserError, match="groups have shape"):
        score(parts, in_groups(items, ids_of(5)))
    with pytest.raises(UserError, match="the query's group is left out"):
        score(parts, in_groups(items, np.array(["one"] * 6)))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(3, 7), st.sampled_from(["multi", "single"]))
def test_without_the_own_pair_scores_and_chance_equal_enumeration(
    seed: int, n: int, kind: str
) -> None:
    parts, items = make(seed, n, kind=kind)
    result = score(parts, dataclasses.replace(items, leave_pair=True), kind, resamples=0)
    sets = oracle.label_sets(items.labels, kind)
    codes = {m: fixed_point(parts[m], m) for m in "ab"}
    for d in DIRECTIONS:
        matrix = np.array(
            [[oracle.grid_cosine(q, g) for g in codes[d[1]]] for q in codes[d[0]]], np.float32
        )
        for given_scores, found in (
            (matrix, values(result, d)),
            (np.zeros_like(matrix), result["chance"][d]),  # every score tied: chance
        ):
            expected = oracle.reference(
                given_scores, items.ids, items.ids, sets, sets, KS, exclude_self=True
            )
            for name, value in found.items():
                if expected.get(name) is None:
                    assert value is None, name
                else:
                    assert value == pytest.approx(expected[name], abs=1e-12), name
        assert result["counts"][d]["n_self_excluded"] == n
    assert [result["scores"][d]["pair_r@5"]["value"] for d in ("ab", "ba")] == [None, None]
    assert [result["chance"][d]["pair_r@5"] for d in ("ab", "ba")] == [None, None]


def test_the_own_pair_is_what_flatters_equal_sensors() -> None:
    """One sensor twice: with the pair across scores more than within, without it the same."""
    parts, items = make(3, 40, levels=None)
    parts["b"] = parts["a"]
    kept = score(parts, items, resamples=0)
    alone = score(parts, dataclasses.replace(items, leave_pair=True), resamples=0)
    with_pair, within = values(kept, "ab")["f1_item@5"], values(kept, "aa")["f1_item@5"]
    assert with_pair > within + 0.02
    assert values(alone, "ab")["f1_item@5"] == within == values(alone, "aa")["f1_item@5"]
    assert values(alone, "aa") == values(kept, "aa")
