"""Files of .npz and .parquet: nothing in them is executed, and no byte of damage goes unseen."""

from __future__ import annotations

import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from vector_data import (
    IDS,
    KNOWN,
    A,
    B,
    Case,
    D,
    N,
    changed,
    cut,
    npz,
    parquet,
    refused,
    written,
    zeroed,
)

from crbench.embedding.file import read_embeddings
from crbench.errors import UserError

WIDE = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({N}, 1000000000)}}"
LONG = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 4)}"
NEGATIVE = "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4)}"
CODE = "__import__('os').system('true')"
RAGGED = [[1.0] * D] * 3 + [[1.0] * (D - 1)] + [[1.0] * D] * 2
HOLE = [[1.0] * D] * 2 + [[1.0, None, 1.0, 1.0]] + [[1.0] * D] * 3
LOST = [[1.0] * D] * 4 + [None, [1.0] * D]


class Bomb:
    """Unpickling this would leave a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def raw_npz(path: Path, name: str, header: str, data: bytes = b"") -> Path:
    """An .npz whose array ``name`` has a header of our own making."""
    npz(path)
    text = header.encode().ljust(117) + b"\n"
    entry = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + data
    with zipfile.ZipFile(path) as old:
        kept = {info.filename: old.read(info) for info in old.infolist()}
    kept[f"{name}.npy"] = entry
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for key, value in kept.items():
            new.writestr(key, value)
    return path


def flipped(path: Path) -> Path:
    """A stored .npz with one byte of array ``a`` changed."""
    data = bytearray(path.read_bytes())
    data[bytes(data).index(A.tobytes()) + 5] ^= 0xFF
    path.write_bytes(data)
    return path


def twice(path: Path) -> Path:
    with zipfile.ZipFile(npz(path), "a") as file, pytest.warns(UserWarning):
        file.writestr("a.npy", b"")
    return path


def other_name(path: Path) -> Path:
    with zipfile.ZipFile(npz(path), "a") as file:
        file.writestr("readme.txt", "hello")
    return path


def pickled(path: Path) -> Path:
    path.write_bytes(pickle.dumps(Bomb(path.with_name("exploded"))))
    return path


def objects(path: Path) -> Path:
    return npz(path, a=np.array([Bomb(path.with_name("exploded"))] * N, dtype=object))


def object_ids(path: Path) -> Path:
    return npz(path, ids=np.array([Bomb(path.with_name("exploded"))] * N, dtype=object))


CASES: dict[str, Case] = {
    "NaN in parquet": (
        "x.parquet", lambda p: parquet(p, a=list(changed(A, 2, np.nan))), ("NaN", "a, row 2")),
    "zero row in parquet": (
        "x.parquet", lambda p: parquet(p, b=list(zeroed(B, 1))), ("zeros", "b, row 1")),
    "integers in parquet": (
        "x.parquet", lambda p: parquet(p, a=[[1, 2]] * N), ("not float", ", a")),
    "structured": (
        "x.npz", lambda p: npz(p, a=np.zeros((N, D), [("x", "f4")])), ("float32", ", a")),
    "ids repeat in parquet": (
        "x.parquet", lambda p: parquet(p, id=["item-0"] * N), ("repeats (5", "rows 0 and 1")),
    "a null id": (
        "x.parquet", lambda p: parquet(p, id=[*IDS[:5], None]), ("id, row 5", "no text")),
    "ids under another name": (
        "x.parquet", lambda p: parquet(p, id=None, ids=list(IDS)), ("rename 'ids' to 'id'",)),
    "a pickle": ("x.npz", pickled, ("damaged",)),
    "object vectors": ("x.npz", objects, ("pickle", "never loaded", ", a")),
    "object ids": ("x.npz", object_ids, ("pickle", "never loaded", "ids")),
    "code for a header": ("x.npz", lambda p: raw_npz(p, "a", CODE), ("damaged", ", a")),
    "cut npz": ("x.npz", lambda p: cut(npz(p), 700), ("damaged",)),
    "cut parquet": ("x.parquet", lambda p: cut(parquet(p), 900), ("damaged",)),
    "a byte changed": ("x.npz", lambda p: flipped(npz(p)), ("damaged", ", a")),
    "a cut array": (
        "x.npz", lambda p: raw_npz(p, "a", WIDE.replace("1000000000", "4"), b"\1" * 20),
        ("damaged", ", a")),
    "a billion dimensions": (
        "x.npz", lambda p: raw_npz(p, "b", WIDE, bytes(10**6)), ("1000000000", ", b")),
    "a trillion rows": ("x.npz", lambda p: raw_npz(p, "b", LONG), ("rows for 6 ids", ", b")),
    "less than no rows": ("x.npz", lambda p: raw_npz(p, "b", NEGATIVE), (", b",)),
    "ragged": ("x.parquet", lambda p: parquet(p, a=RAGGED), ("as long as", "a, row 3")),
    "a hole": ("x.parquet", lambda p: parquet(p, a=HOLE), ("NaN", "a, row 2")),
    "a missing vector": ("x.parquet", lambda p: parquet(p, b=LOST), ("null", "b, row 4")),
    "an array twice": ("x.npz", twice, ("twice", ", a")),
    "something else in the archive": ("x.npz", other_name, ("'readme.txt' is no .npy array",)),
    "text": ("x.npz", lambda p: written(p, b"ids,a,b\n"), ("damaged",)),
    "text as parquet": ("x.parquet", lambda p: written(p, b"ids,a,b\n"), ("damaged",)),
    "nothing": ("x.npz", lambda p: written(p, b""), ("damaged",)),
}  # fmt: skip


def test_there_are_many_malformed_files() -> None:
    assert len(CASES) >= 25


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", CASES)
def test_a_malformed_file_is_refused_by_name(case: str, tmp_path: Path) -> None:
    refused(CASES[case], tmp_path)


def test_lists_of_fixed_and_of_large_size_are_read(tmp_path: Path) -> None:
    import pyarrow as pa

    fixed = pa.FixedSizeListArray.from_arrays(pa.array(A.ravel()), D)
    large = pa.array(list(B), pa.large_list(pa.float32()))
    found = read_embeddings(parquet(tmp_path / "x.parquet", a=fixed, b=large), KNOWN)
    np.testing.assert_array_equal(found.arrays["a"], A)
    np.testing.assert_array_equal(found.arrays["b"], B)


def test_a_row_is_found_beyond_the_first_block(tmp_path: Path) -> None:
    known = np.array([f"i{i}" for i in range(9000)])
    rows = [[1.0, 2.0]] * 9000
    rows[8999] = [1.0]
    with pytest.raises(UserError, match="row 8999"):
        read_embeddings(parquet(tmp_path / "x.parquet", id=known, a=rows, b=None), known)
