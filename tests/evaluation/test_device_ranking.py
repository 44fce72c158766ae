"""Ranking by torch gives the bits of ranking by numpy, on every device at hand."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from crbench.errors import UserError
from crbench.evaluation import device_ranking
from crbench.evaluation.device_ranking import device_scores, ranker_on
from crbench.scoring import Engine, Items, per_query
from crbench.scoring.tiles import fixed_point

sys.path.insert(0, str(Path(__file__).parents[1] / "oracles"))
from small_sets import make, pairs

CPU = torch.device("cpu")


def same_bits(
    device: torch.device,
    parts: dict[str, np.ndarray],
    query: Items,
    gallery: Items,
    kind: str,
    rows: int | None = None,
    at: tuple = (slice(None), slice(None)),
) -> None:
    found = [
        per_query(pairs(parts, *at), query, gallery, label_kind=kind, engine=engine)
        for engine in (Engine(), Engine(ranker=ranker_on(device, rows)))
    ]
    for direction, expected in found[0].items():
        theirs = found[1][direction]
        assert theirs.tied_share == expected.tied_share
        assert list(theirs.values) == list(expected.values)
        for name, values in expected.values.items():
            assert theirs.values[name].tobytes() == values.tobytes(), (direction, name)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(2, 60),
    st.sampled_from(["multi", "single", "none", "place"]),
    st.booleans(),
    st.sampled_from([1, 3, 200]),
)
def test_equals_numpy_to_the_bit(seed: int, n: int, kind: str, ties: bool, rows: int) -> None:
    parts, items = make(seed, n, width=3, kind=kind, levels=2 if ties else None)
    same_bits(CPU, parts, items, items, kind, rows)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(8, 60), st.sampled_from(["multi", "single"]))
def test_equals_numpy_where_groups_are_left_out(seed: int, n: int, kind: str) -> None:
    parts, items = make(seed, n, width=3, kind=kind)
    groups = np.random.default_rng(seed).integers(0, 4, n).astype(str)
    groups[:2] = "a", "b"  # at least two
    grouped = dataclasses.replace(items, groups=groups)
    same_bits(CPU, parts, grouped, grouped, kind, 3)


def test_equals_numpy_where_queries_and_gallery_overlap_in_part() -> None:
    parts, items = make(5, 400, width=24, levels=None)
    query, gallery = np.arange(250), np.arange(150, 400)
    taken = [Items(items.ids[x], items.labels[x]) for x in (query, gallery)]
    same_bits(CPU, parts, taken[0], taken[1], "multi", at=(query, gallery))


@pytest.mark.parametrize("kind", ["multi", "single"])
def test_equals_numpy_for_a_collapsed_encoder(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_ranking, "_AT_A_TIME", 500)  # several rounds of the tied items
    _, items = make(5, 120, kind=kind)
    parts = {m: np.full((120, 5), 0.3, np.float32) for m in "ab"}
    same_bits(CPU, parts, items, items, kind)


def test_a_device_that_rounds_products_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def rounded(query: np.ndarray, gallery: torch.Tensor) -> torch.Tensor:
        return device_scores(query, gallery).bfloat16().float()

    parts, items = make(1, 50, width=20, levels=None)
    monkeypatch.setattr(device_ranking, "device_scores", rounded)
    with pytest.raises(UserError, match="not exact"):
        same_bits(CPU, parts, items, items, "multi")


def test_scores_are_those_of_the_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_ranking, "_GALLERY_TILE", 37)
    x = np.random.default_rng(0).standard_normal((100, 60)).astype(np.float32)
    codes = fixed_point(x, "x")
    expected = (codes.astype(float) @ codes.T.astype(float) / 2.0**52).astype(np.float32)
    assert np.array_equal(device_scores(codes, torch.from_numpy(codes)).numpy(), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
@pytest.mark.parametrize("kind", ["multi", "single", "none"])
def test_a_gpu_equals_numpy_to_the_bit(kind: str) -> None:
    parts, items = make(7, 3000, width=256, kind=kind, levels=None)
    parts["b"][1500:1600] = parts["b"][:100]  # exact ties
    same_bits(torch.device("cuda"), parts, items, items, kind)
