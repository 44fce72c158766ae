"""The ceiling: by hand, in simulation, and never below what any score of the same views reaches."""

from __future__ import annotations

import numpy as np
import pytest
from small_sets import ids_of

from crbench.scoring import Items
from crbench.scoring.ceiling import Expected, best_ranking
from crbench.scoring.metrics import make_task, means


def task_of(labels: np.ndarray, direction: str = "ab") -> tuple:
    items = Items(ids_of(len(labels)), labels)
    return make_task(direction, items, items, "single", (1, 5)), items.ids


def test_by_hand() -> None:
    """Four items of classes 0 0 1 1; views tell them apart, or do not at all, or the pair alone."""
    labels = np.array([0, 0, 1, 1])
    task, ids = task_of(labels)
    table, nobody, everybody = np.eye(2), np.zeros(4, bool), np.ones(4, bool)
    clear = best_ranking(task, ids, Expected(table, labels, labels, nobody))
    assert means(clear.values, (1, 5))["map"] == 1
    blind = np.zeros(4, int)
    dull = best_ranking(task, ids, Expected(np.full((1, 1), 0.5), blind, blind, nobody))
    assert means(dull.values, (1, 5))["p@1"] == 0.5
    own = best_ranking(task, ids, Expected(np.full((1, 1), 0.5), blind, blind, everybody))
    assert means(own.values, (1, 5))["p@1"] == 1
    assert own.values["pair_r@1"].tolist() == [1, 1, 1, 1]
    same, _ = task_of(labels, "aa")  # the query itself is left out, and nothing is known
    alone = best_ranking(same, ids, Expected(np.full((1, 1), 0.5), blind, blind, everybody))
    assert means(alone.values, (1, 5))["p@1"] == pytest.approx(1 / 3)


def test_no_other_score_of_the_same_views_is_better() -> None:
    """Views with noise: P@5 of the ceiling is its expectation, and no random table beats it."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 4000)
    seen = np.where(
        rng.random(4000) < 0.6, labels, rng.integers(0, 3, 4000)
    )  # view = class or chance
    joint = 0.6 * np.eye(3) + 0.4 / 3
    posterior = joint / joint.sum(axis=1, keepdims=True)
    task, ids = task_of(labels)
    nobody = np.zeros(4000, bool)
    table = posterior @ posterior.T
    best = means(best_ranking(task, ids, Expected(table, seen, seen, nobody)).values, (1, 5))
    assert best["p@5"] == pytest.approx(table.diagonal().mean(), abs=0.02)
    for _ in range(4):
        other = Expected(rng.random((3, 3)), seen, seen, nobody)
        assert means(best_ranking(task, ids, other).values, (1, 5))["p@5"] < best["p@5"] + 0.01
    assert best["map"] is not None


def test_equal_expectations_are_ties_and_no_order() -> None:
    labels = np.array([0, 1] * 10)
    task, ids = task_of(labels)
    blind, nobody = np.arange(20) % 2, np.zeros(20, bool)
    table = np.array([[0.5, 0.5 + 1e-15], [0.5 - 1e-15, 0.5]])
    values = means(best_ranking(task, ids, Expected(table, blind, blind, nobody)).values, (1, 5))
    assert values["p@1"] == pytest.approx(0.5)
