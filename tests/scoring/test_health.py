"""Dead encoders are marked with a reason and a threshold, living ones are not."""

from __future__ import annotations

import numpy as np
import pytest

from crbench.errors import UserError
from crbench.scoring import THRESHOLDS, Items, health, score_directions

N, D = 400, 24


def spread(seed: int, width: int = D) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((N, width)).astype(np.float32)


def all_directions(a: np.ndarray, b: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {"aa": (a, a), "bb": (b, b), "ab": (a, b), "ba": (b, a)}


def test_random_directions_are_healthy() -> None:
    found = health(all_directions(spread(0), spread(1)), {"aa": 0.0, "ab": 0.001})
    assert found["collapsed"] is False
    assert found["collapsed_reason"] is None
    numbers = found["modalities"]["a"]
    assert numbers["spread"] == pytest.approx(1.0, abs=0.02)
    assert numbers["feature_std"] == pytest.approx(D**-0.5, abs=0.01)
    assert 0.9 * D < numbers["effective_rank"] <= D
    assert found["gap"] < 0.15
    assert found["directions"]["ab"]["tied_share"] == 0.001
    assert found["thresholds"].items() >= THRESHOLDS.items()


def test_numbers_equal_their_definitions() -> None:
    x = spread(2) @ np.diag(np.linspace(0.1, 3, D)).astype(np.float32) + 0.5
    y = spread(3) - 1
    found = health({"ab": (x, y)})
    unit = [v / np.linalg.norm(v.astype(np.float64), axis=1, keepdims=True) for v in (x, y)]
    s = np.linalg.svd(unit[0] - unit[0].mean(axis=0), compute_uv=False)
    p = s / s.sum()
    numbers = found["directions"]["ab"]["query"]
    assert numbers["effective_rank"] == pytest.approx(np.exp(-(p * np.log(p)).sum()), rel=1e-5)
    assert numbers["feature_std"] == pytest.approx(unit[0].std(axis=0).mean(), rel=1e-5)
    gap = np.linalg.norm(unit[0].mean(axis=0) - unit[1].mean(axis=0))
    assert found["gap"] == pytest.approx(gap, rel=1e-5)


def test_one_point_is_collapsed() -> None:
    dead = np.full((N, D), 0.7, np.float32)
    dead += np.random.default_rng(0).normal(0, 1e-4, dead.shape).astype(np.float32)  # not quite
    found = health(all_directions(spread(0), dead))
    assert found["collapsed"] is True
    assert "bb query embeddings lie on one point" in found["collapsed_reason"]
    assert "min_spread 0.01" in found["collapsed_reason"]
    exact = health(all_directions(np.ones((N, D), np.float32), spread(0)))
    assert exact["modalities"]["a"] == {
        "feature_std": 0.0, "spread": 0.0, "effective_rank": 0.0, "mean_cosine": 1.0,
        "first_component": None,
    }  # fmt: skip
    assert exact["narrow_reason"] is None  # what is collapsed is not narrow as well


def test_a_narrow_space_is_marked_and_not_called_collapsed() -> None:
    """One direction with most of the variance, or all items close to one another."""
    line = spread(7)
    line[:, 0] *= 60
    reason = health(all_directions(spread(0), line))["narrow_reason"]
    assert reason.startswith("bb query") and "first_component" in reason
    close = spread(8) + 4
    found = health({"ab": (close, spread(0))})
    unit = close / np.linalg.norm(close.astype(np.float64), axis=1, keepdims=True)
    products = unit @ unit.T
    mean = products[~np.eye(N, dtype=bool)].mean()
    numbers = found["directions"]["ab"]["query"]
    assert numbers["mean_cosine"] == pytest.approx(mean, rel=1e-5) and mean > 0.9
    power = np.linalg.svd(unit - unit.mean(axis=0), compute_uv=False) ** 2
    assert numbers["first_component"] == pytest.approx(power[0] / power.sum(), rel=1e-5)
    assert found["narrow_reason"] == (
        f"ab query embeddings use little of their space: mean_cosine {mean:g} is above 0.9"
    )
    assert not found["collapsed"]
    assert health(all_directions(spread(0), spread(1)))["narrow_reason"] is None


def test_two_points_are_collapsed_and_score_no_better_than_their_split() -> None:
    rng = np.random.default_rng(0)
    points = spread(5)[:2]
    side = {m: rng.integers(0, 2, N) for m in "ab"}
    parts = {m: points[side[m]] for m in "ab"}
    found = health(all_directions(parts["a"], parts["b"]))
    assert found["collapsed"] is True
    assert "min_effective_rank 1.5" in found["collapsed_reason"]
    assert found["modalities"]["a"]["effective_rank"] == pytest.approx(1.0)
    ids = np.array([f"p{i:03d}" for i in range(N)])
    items = Items(ids, rng.integers(0, 4, N))
    result = score_directions(
        all_directions(parts["a"], parts["b"]), items, items, label_kind="single", ks=(5,)
    )
    for d in ("aa", "bb", "ab", "ba"):
        assert result["tied_share"][d] == 1.0
        assert abs(result["scores"][d]["map"]["value"] - result["chance"][d]["map"]) < 0.02
    reason = health({"ab": (spread(0), spread(1))}, result["tied_share"])["collapsed_reason"]
    assert reason == "ab: tied_share 1 is above max_tied_share 0.5"


def test_gap_is_null_without_two_modalities_of_one_width() -> None:
    assert health({"aa": (spread(0), spread(0))})["gap"] is None
    assert health({"ab": (spread(0), spread(1, 8))})["gap"] is None


def test_bad_rows_are_named() -> None:
    x = spread(0)
    x[7, 3] = np.inf
    with pytest.raises(UserError, match="infinite") as caught:
        health({"ba": (x, x)})
    assert caught.value.where == "ba query embeddings, row 7"
