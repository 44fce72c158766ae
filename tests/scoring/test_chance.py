"""Chance in closed form: what constant embeddings get, and where random ones stand."""

from __future__ import annotations

import numpy as np
import pytest
from small_sets import KS, ids_of, make, pairs, score, values

from crbench.scoring import Items, score_directions
from crbench.scoring.chance import expected_map_r
from crbench.scoring.ranking import reciprocal_first
from crbench.words import DIRECTIONS


@pytest.mark.parametrize("kind", ["multi", "single", "none", "place"])
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


def test_chance_by_place_is_the_mean_of_many_random_rankings() -> None:
    """10,000 rankings of 30 tiles, each query's relevant ones counted by hand."""
    _, items = make(11, 30, kind="place")
    dead = {m: np.full((30, 2), 1.0, np.float32) for m in "ab"}
    chance = score(dead, items, "place", ks=(5,))["chance"]
    distances = np.linalg.norm(items.positions[:, None] - items.positions[None], axis=-1)
    rng, tries = np.random.default_rng(0), 10_000
    for direction, away in (("ab", 0), ("aa", 1)):
        totals = {"map": [], "p@5": []}
        for q in range(30):
            others = np.delete(np.arange(30), q) if away else np.arange(30)
            near = distances[q, others] <= 100
            order = rng.permuted(np.tile(near, (tries, 1)), axis=1)
            totals["p@5"].append(order[:, :5].mean())
            if near.any():
                hits = np.cumsum(order, axis=1) / np.arange(1, len(others) + 1)
                totals["map"].append((hits * order).sum(axis=1).mean() / near.sum())
        for name, means in totals.items():
            assert chance[direction][name] == pytest.approx(np.mean(means), abs=1e-3), name


def test_chance_of_the_first_and_of_the_first_r_is_the_mean_of_random_rankings() -> None:
    rng, n, m = np.random.default_rng(1), 30, 6
    ranks = np.sort(rng.random((40_000, n)).argsort(axis=1)[:, :m] + 1, axis=1)
    inside = ranks <= m
    drawn = {
        "mrr": 1 / ranks[:, 0],
        "map_r": (np.arange(1, m + 1) / ranks * inside).sum(axis=1) / m,
    }
    harmonic = (1 / np.arange(1, m + 1)).sum()
    for name, value in (
        ("mrr", reciprocal_first(0, n, m)),
        ("map_r", expected_map_r(n, m, harmonic)),
    ):
        error = drawn[name].std() / np.sqrt(40_000)
        assert abs(drawn[name].mean() - value) < 5 * error, name
