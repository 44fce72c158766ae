"""Scores that do not depend on position, block, order, threads; bad arrays are refused by row."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import brute_force as oracle
import numpy as np
import pytest
from threadpoolctl import threadpool_limits

from crbench.errors import UserError
from crbench.scoring.tiles import GRID_BITS, fixed_point, score_tile, workers


def scores_of(
    query: np.ndarray, gallery: np.ndarray, tile: tuple[int, int] = (32, 256), threads: int = 1
) -> np.ndarray:
    q, g = fixed_point(query, "q"), fixed_point(gallery, "g")
    out = np.empty((len(q), len(g)), np.float32)
    buffer = np.empty((tile[0], len(g)), np.float32)
    with workers(threads) as run:
        for start in range(0, len(q), tile[0]):
            part = q[start : start + tile[0]]
            out[start : start + tile[0]] = score_tile(part, g, buffer, run, tile)
    return out


def vectors(n: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((n, width)).astype(np.float32)


@pytest.mark.parametrize("width", [1, 3, 64, 250, 256, 1024])
def test_scores_are_exact_sums_rounded_once(width: int) -> None:
    query, gallery = vectors(5, width), vectors(40, width, 1)
    found = scores_of(query, gallery)
    q, g = fixed_point(query, "q"), fixed_point(gallery, "g")
    for i in range(5):
        for j in range(40):
            assert found[i, j] == oracle.grid_cosine(q[i], g[j])


@pytest.mark.parametrize("width", [2, 64, 250, 256, 1024])
def test_identical_gallery_rows_get_identical_scores(width: int) -> None:
    gallery = np.repeat(vectors(1, width), 777, axis=0)
    query = np.repeat(vectors(1, width, 1), 45, axis=0)
    for tile in ((32, 256), (7, 100), (1, 777)):
        assert len(np.unique(scores_of(query, gallery, tile))) == 1


def test_order_tile_and_threads_change_no_bit() -> None:
    query, gallery = vectors(67, 250), vectors(901, 250, 1)
    expected = scores_of(query, gallery)
    rng = np.random.default_rng(2)
    pq, pg = rng.permutation(67), rng.permutation(901)
    assert np.array_equal(scores_of(query[pq], gallery[pg]), expected[pq][:, pg])
    for tile, threads in (((1, 33), 1), ((7, 900), 2), ((64, 2048), 2), ((128, 901), 3)):
        assert np.array_equal(scores_of(query, gallery, tile, threads), expected)


def test_threads_inside_blas_change_no_bit() -> None:
    query, gallery = vectors(100, 300), vectors(1500, 300, 1)
    q, g = fixed_point(query, "q"), fixed_point(gallery, "g")

    def here(function: Callable[[int], None], arguments: Iterable[int]) -> None:
        for argument in arguments:
            function(argument)

    for threads in (1, 2, 3):
        with threadpool_limits(limits=threads, user_api="blas"):
            out = score_tile(q, g, np.empty((128, 1500), np.float32), here, (128, 1500))
        assert np.array_equal(out, scores_of(query, gallery))


def test_scores_are_closer_to_the_truth_than_a_float32_product() -> None:
    query, gallery = vectors(50, 256), vectors(2000, 256, 1)
    gallery[:50] = query + vectors(50, 256, 2) / 100  # near neighbours too
    wide = [x.astype(np.float64) for x in (query, gallery)]
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in wide]
    truth = unit[0] @ unit[1].T
    narrow = [u.astype(np.float32) for u in unit]
    ours = np.abs(scores_of(query, gallery) - truth).max()
    assert ours < 5e-8
    assert ours <= np.abs(narrow[0] @ narrow[1].T - truth).max()


def test_distinct_scores_stay_distinct() -> None:
    """Coarse arithmetic would tie: bfloat16 leaves a third of 4,000 distinct scores."""
    row = scores_of(vectors(1, 256), vectors(4000, 256, 1))[0]
    assert len(np.unique(row)) > 3980


@pytest.mark.parametrize("power", [-140, -60, 60, 100])
def test_scale_by_powers_of_two_changes_nothing(power: int) -> None:
    gallery = np.array([[3.0, 4.0], [1.0, -2.0]], np.float32)
    scaled = np.ldexp(gallery, power)  # down to subnormal numbers
    assert np.array_equal(fixed_point(gallery, "g"), fixed_point(scaled, "g"))


def test_rows_are_unit_vectors_on_the_grid() -> None:
    codes = fixed_point(np.array([[3.0, 4.0], [-1e38, 0.0], [0.0, 1e-45]], np.float32), "g")
    unit = codes / 2.0**GRID_BITS
    assert np.allclose(unit, [[0.6, 0.8], [-1, 0], [0, 1]], atol=2.0**-26)


def test_normalising_does_not_depend_on_the_rows_around() -> None:
    for width in (1, 5, 130, 1000, 9000):
        x = vectors(5, width)
        many = np.concatenate([np.ones((2050, width), np.float32), x])
        assert np.array_equal(fixed_point(many, "g")[-5:], fixed_point(x, "g"))
        assert np.array_equal(fixed_point(np.asfortranarray(x), "g"), fixed_point(x, "g"))
        assert np.array_equal(fixed_point(x[3:4], "g")[0], fixed_point(x, "g")[3])


@pytest.mark.parametrize(
    ("value", "what"),
    [(np.nan, "NaN"), (np.inf, "infinite"), (-np.inf, "infinite"), (0.0, "zeros alone")],
)
def test_bad_rows_are_named(value: float, what: str) -> None:
    x = vectors(3000, 4)
    x[2500] = 0.0
    x[2500, 1] = value
    with pytest.raises(UserError, match=what) as caught:
        fixed_point(x, "ab gallery embeddings", np.array([f"id{i}" for i in range(3000)]))
    assert "ab gallery embeddings, row 2500 (id 'id2500')" in str(caught.value)


@pytest.mark.parametrize(
    "x",
    [
        np.ones(5, np.float32),
        np.ones((5, 0), np.float32),
        np.ones((5, 2, 2), np.float32),
        np.ones((5, 2), np.int32),
        np.ones((5, 2), np.complex64),
        np.array([["a", "b"]]),
    ],
)
def test_wrong_shapes_and_dtypes_are_refused(x: np.ndarray) -> None:
    with pytest.raises(UserError) as caught:
        fixed_point(x, "aa query embeddings")
    assert caught.value.where == "aa query embeddings"
