"""Small sound files of embeddings in every format, and how a malformed one must be refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from crbench.embedding.file import read_embeddings
from crbench.errors import UserError

N, D = 6, 4
KNOWN = np.array([f"item-{i}" for i in range(N + 2)])  # the dataset has two more items
IDS = KNOWN[:N]
RNG = np.random.default_rng(0)
A, B = (RNG.normal(size=(N, D)).astype(np.float32) for _ in "ab")

# name of the file, how it is made, and what its refusal must name
Case = tuple[str, Callable[[Path], Path], tuple[str, ...]]


def npz(path: Path, **arrays: Any) -> Path:
    np.savez(path, **({"ids": IDS, "a": A, "b": B} | arrays))
    return path


def h5(path: Path, **arrays: Any) -> Path:
    with h5py.File(path, "w") as file:
        for name, array in ({"ids": IDS.astype("S"), "a": A, "b": B} | arrays).items():
            if array is not None:
                file[name] = array
    return path


def parquet(path: Path, **columns: Any) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    given = {"id": list(IDS), "a": list(A), "b": list(B)} | columns
    pq.write_table(pa.table({k: v for k, v in given.items() if v is not None}), path)
    return path


def changed(array: np.ndarray, row: int, value: float) -> np.ndarray:
    copy = array.copy()
    copy[row, 1] = value
    return copy


def zeroed(array: np.ndarray, row: int) -> np.ndarray:
    copy = array.copy()
    copy[row] = 0
    return copy


def cut(path: Path, keep: int) -> Path:
    path.write_bytes(path.read_bytes()[:keep])
    return path


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def refused(case: Case, folder: Path) -> None:
    """The file is refused by all that its case names, and nothing was executed or written."""
    name, make, pieces = case
    path = make(folder / name)
    before = sorted(folder.iterdir())
    with pytest.raises(UserError) as caught:
        read_embeddings(path, KNOWN)
    for piece in (*pieces, str(path)):
        assert piece in str(caught.value)
    assert sorted(folder.iterdir()) == before
