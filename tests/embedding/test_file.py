"""Files of embeddings by any program: what they hold, by direction, in any order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vector_data import (
    IDS,
    KNOWN,
    RNG,
    A,
    B,
    D,
    N,
    h5,
    npz,
    parquet,
)

from crbench.embedding.file import read_embeddings, stage_key
from crbench.errors import UserError

PARTS: dict[str, Any] = {
    "weights": "w", "method": "m", "dataset": "d", "cache": "c", "precision": "fp32",
    "device": "cpu", "splits": ["test", "val"],
}  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_every_part_of_the_key_counts(part: str) -> None:
    other = PARTS | {part: ["test"] if part == "splits" else "x"}
    assert stage_key(**other) != stage_key(**PARTS)
    assert stage_key(**PARTS | {"splits": ["val", "test", "val"]}) == stage_key(**PARTS)


@pytest.mark.parametrize(("name", "make"), [("x.npz", npz), ("x.h5", h5), ("x.parquet", parquet)])
def test_every_format_gives_the_same(
    name: str, make: Callable[[Path], Path], tmp_path: Path
) -> None:
    found = read_embeddings(make(tmp_path / name), KNOWN)
    order = np.array([4, 0, 2])
    pairs = found.pairs(KNOWN[order], KNOWN[:N])
    assert list(pairs) == ["aa", "bb", "ab", "ba"]
    np.testing.assert_array_equal(pairs["ab"][0], A[order])
    np.testing.assert_array_equal(pairs["ab"][1], B)
    np.testing.assert_array_equal(pairs["bb"][0], B[order])


def test_a_set_against_itself_is_taken_once(tmp_path: Path) -> None:
    """One array serves both sides, which the scorer then normalises once."""
    found = read_embeddings(npz(tmp_path / "x.npz"), KNOWN)
    same, other = found.pairs(IDS, IDS), found.pairs(IDS[:3], IDS)
    assert same["aa"][0] is same["aa"][1] is same["ab"][0] is same["ba"][1]
    assert len(other["aa"][0]) == 3 and len(other["aa"][1]) == N


@pytest.mark.parametrize("dtype", ["<f2", "<f8", ">f4"])
def test_other_floats_are_read(dtype: str, tmp_path: Path) -> None:
    found = read_embeddings(npz(tmp_path / "x.npz", a=A.astype(dtype)), KNOWN)
    np.testing.assert_allclose(found.arrays["a"], A, rtol=1e-3)


def test_arrays_by_direction_and_role_take_the_place_of_the_modality(tmp_path: Path) -> None:
    other = RNG.normal(size=(2, N, D + 3)).astype(np.float32)
    path = npz(tmp_path / "x.npz", **{"ab/query": other[0], "ab/gallery": other[1]})
    found = read_embeddings(path, KNOWN)
    assert found.serves["ab"] == ("ab/query", "ab/gallery") and found.serves["ba"] == ("b", "a")
    np.testing.assert_array_equal(found.pairs(IDS, IDS)["ab"][0], other[0])


def test_one_modality_is_scored_in_its_own_direction(tmp_path: Path) -> None:
    assert read_embeddings(h5(tmp_path / "x.h5", b=None), KNOWN).serves == {"aa": ("a", "a")}


def test_items_without_an_embedding_are_counted_and_listed(tmp_path: Path) -> None:
    found = read_embeddings(npz(tmp_path / "x.npz"), KNOWN)
    with pytest.raises(UserError, match=r"2 of the 8 items.*item-6, item-7"):
        found.pairs(KNOWN, KNOWN)
