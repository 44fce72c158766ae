"""One query at a time: the items and scores of top_k, to the bit, whatever float32 would say."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_sets import ids_of, make

from crbench.errors import UserError
from crbench.scoring import top_k
from crbench.scoring.search import Gallery, error_bound, scale_rows
from crbench.scoring.tiles import fixed_point


def agree(
    query: np.ndarray,
    vectors: np.ndarray,
    ids: np.ndarray,
    ks: tuple[int, ...],
    same: bool = False,
    groups: np.ndarray | None = None,
) -> None:
    """Every query (Nq, D), which are items of the gallery where ``same``, found as by top_k."""
    gallery = Gallery(ids, scale_rows(vectors))
    names = ids[: len(query)]
    for k in ks:
        both = None if groups is None else (groups[: len(query)], groups)
        indices, scores = top_k(query, vectors, k, names, ids, same, groups=both)
        for row, vector in enumerate(query):
            left_out = np.array([row] if same else [], np.int64)
            if groups is not None:
                left_out = np.flatnonzero(groups == groups[row])
            places, found = gallery.nearest(vector, k, left_out)
            n = indices.shape[1]  # top_k stops at the smallest number that is left
            assert np.array_equal(places[:n], indices[row])
            assert found.dtype == np.float32
            assert np.array_equal(found[:n], scores[row])


@pytest.mark.parametrize("width", [1, 3, 64])
@pytest.mark.parametrize("levels", [2, None], ids=["ties", "apart"])
def test_search_equals_top_k(width: int, levels: int | None) -> None:
    parts, items = make(width, 120, width=width, levels=levels)
    ids = np.random.default_rng(0).permutation(items.ids)
    agree(parts["a"][:30], parts["b"], ids, (1, 7, 500))
    agree(parts["a"][:30], parts["a"], ids, (1, 7, 500), same=True)
    agree(parts["a"][:30], parts["b"], ids, (1, 7), groups=np.arange(120) % 5)


def crowd(seed: int, n: int, width: int, spread: float) -> tuple[np.ndarray, np.ndarray]:
    """A query and a gallery of nearly equal cosines with it, exact duplicates among them."""
    rng = np.random.default_rng(seed)
    query, side = rng.standard_normal((2, width))
    side -= side @ query / (query @ query) * query
    vectors = query + side + spread * rng.standard_normal((n, width))
    vectors[n // 2 : n // 2 + n // 4] = vectors[: n // 4]
    return query.astype(np.float32)[None], vectors.astype(np.float32)


@pytest.mark.parametrize("spread", [0.0, 1e-7, 1e-6, 1e-5])
def test_scores_that_float32_confuses_are_put_in_order(spread: float) -> None:
    """Every k is a cut through near-duplicates and through ties."""
    query, vectors = crowd(5, 400, 256, spread)
    ids = np.random.default_rng(1).permutation(ids_of(400))
    agree(query, vectors, ids, tuple(range(1, 401, 13)))
    if spread:  # the test bites: float32 alone would put others among the first
        unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        rough = unit @ (query[0] / np.linalg.norm(query[0]))
        exact, _ = top_k(query, vectors, 50, ids[:1], ids, False)
        assert set(np.argsort(-rough, kind="stable")[:50].tolist()) != set(exact[0].tolist())


def test_vectors_of_any_length_and_a_memory_map(tmp_path) -> None:
    parts, items = make(2, 60, width=24, levels=None)
    rng = np.random.default_rng(0)
    vectors = np.ldexp(parts["a"], rng.integers(-120, 120, (60, 1)))
    vectors[7, 3:] = np.float32(1e-42)  # beside large entries these count for nothing
    queries = np.ldexp(parts["b"], rng.integers(-120, 120, (60, 1)))
    agree(queries, vectors, items.ids, (1, 9, 60))
    np.save(tmp_path / "x.npy", scale_rows(vectors))
    mapped = Gallery(items.ids, np.load(tmp_path / "x.npy", mmap_mode="r"))
    inside = Gallery(items.ids, scale_rows(vectors))
    for query in queries:
        for ours, theirs in zip(mapped.nearest(query, 9), inside.nearest(query, 9), strict=True):
            assert np.array_equal(ours, theirs)


def test_scaling_changes_no_code() -> None:
    rng = np.random.default_rng(3)
    x = np.ldexp(rng.standard_normal((500, 40)), rng.integers(-120, 120, (500, 1))).astype("f4")
    scaled = scale_rows(x)
    assert np.array_equal(fixed_point(scaled, "x"), fixed_point(x, "x"))
    assert (np.abs(scaled).max(axis=1) >= 0.5).all() and (np.abs(scaled) < 1).all()
    half = rng.standard_normal((50, 40)).astype(np.float16)
    assert np.array_equal(fixed_point(scale_rows(half), "x"), fixed_point(half, "x"))
    with pytest.raises(UserError, match="float64"):
        scale_rows(rng.standard_normal((3, 4)))


@pytest.mark.parametrize("width", [1, 2, 16, 256, 4096])
def test_rough_scores_keep_within_the_bound(width: int) -> None:
    """Also where a first product is so large that all others are lost in its sum; nor is the bound
    idle."""
    rng = np.random.default_rng(width)
    lost = np.full((300, width), 2.0**-12.6)
    lost[:, 0] = 1
    for x, q in (rng.standard_normal((2, 300, width)), rng.random((2, 300, width)), (lost, lost)):
        vectors = scale_rows(x.astype(np.float32))
        code = fixed_point(q[:1].astype(np.float32), "q")[0]
        exact = (fixed_point(vectors, "x") @ code.astype(np.float64)) * 2.0**-52
        rough = vectors @ np.ldexp(code.astype(np.float32), -26)
        rough *= (1 / np.linalg.norm(vectors.astype(np.float64), axis=1)).astype(np.float32)
        off = np.abs(rough - exact.astype(np.float32).astype(np.float64)).max()
        assert off <= error_bound(width)
    assert error_bound(width) < 2.0**-23 * (width + 8)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 40), st.integers(1, 5), st.integers(1, 45))
def test_any_small_gallery(seed: int, n: int, width: int, k: int) -> None:
    parts, items = make(seed, n, width=width, levels=1)
    agree(parts["a"][:3], parts["b"], items.ids, (k,))
    agree(parts["a"][:3], parts["a"], items.ids, (k,), same=True)


def test_what_cannot_be_searched_is_said() -> None:
    gallery = Gallery(ids_of(3), np.eye(3, dtype=np.float32))
    with pytest.raises(UserError, match="no item of the gallery is left"):
        gallery.nearest(np.ones(3), 1, np.arange(3))
    with pytest.raises(UserError, match="k is 0"):
        gallery.nearest(np.ones(3), 0)
    with pytest.raises(UserError, match="4 dimensions, gallery ones 3"):
        gallery.nearest(np.ones(4), 1)
    with pytest.raises(UserError, match="holds NaN"):
        gallery.nearest(np.array([1, np.nan, 0]), 1)
