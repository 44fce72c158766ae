"""Vectors of a gallery in a file of their own, made once and memory-mapped from then on.

The embeddings of a run are one HDF5 file of blocks with checksums, which cannot be mapped, and its
rows are not those of a gallery. So each view of a gallery gets a plain ``.npy`` of float32, and
beside it a ``.key`` that says what it was made from and its SHA-256. One that is stale or damaged
is made again. The whole numbers that exact scores need are not stored: they follow from the float32
of the few rows that can be among the nearest.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from crbench.errors import UserError
from crbench.files import atomic_path, read_json, sha256_file, write_json


def stored(path: Path, key: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The array that ``make`` gives, read-only and mapped from ``path`` (.npy).

    ``key`` states all that the array follows from: where ``path`` holds the array of another key,
    not the bytes that were written, or nothing, it is written anew. In a folder that cannot be
    written the array is only made, and stays in memory.
    """
    stored = _read(path, key)
    if stored is not None:
        return stored
    array = make()
    try:
        with atomic_path(path) as temporary, open(temporary, "wb") as file:
            np.save(file, array, allow_pickle=False)
        write_json(path.with_suffix(".key"), _statement(path, key))
    except UserError:
        return array
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _read(path: Path, key: str) -> np.ndarray | None:
    try:
        if read_json(path.with_suffix(".key")) != _statement(path, key):
            return None
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError, UserError):
        return None


def _statement(path: Path, key: str) -> dict[str, str]:
    return {"key": key, "sha256": sha256_file(path)}
