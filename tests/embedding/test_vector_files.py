"""Arrays of anyone, held against the dataset; HDF5 with its links, heaps and checksums."""

from __future__ import annotations

import contextlib
from pathlib import Path

import h5py
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
    h5,
    npz,
    refused,
    written,
    zeroed,
)

from crbench.embedding.file import read_embeddings
from crbench.errors import UserError


def soft(path: Path) -> Path:
    with h5py.File(h5(path, b=None), "a") as file:
        file["b"] = h5py.SoftLink("/a")
    return path


def outside(path: Path) -> Path:
    h5(path.with_name("secret.h5"))
    with h5py.File(h5(path, b=None), "a") as file:
        file["b"] = h5py.ExternalLink("secret.h5", "/b")
    return path


def outside_ids(path: Path) -> Path:
    h5(path.with_name("secret.h5"))
    with h5py.File(h5(path, ids=None), "a") as file:
        file["ids"] = h5py.ExternalLink("secret.h5", "/ids")
    return path


def linked_group(path: Path) -> Path:
    with h5py.File(h5(path), "a") as file:
        file["ab"] = h5py.ExternalLink("secret.h5", "/")
    return path


def loop(path: Path) -> Path:
    with h5py.File(h5(path), "a") as file:
        file.create_group("ab")["query"] = file["/"]
    return path


def raw_outside(path: Path) -> Path:
    path.with_name("raw.bin").write_bytes(B.tobytes())
    with h5py.File(h5(path, b=None), "a") as file:
        file.create_dataset("b", (N, D), "f4", external=[("raw.bin", 0, B.nbytes)])
    return path


def virtual(path: Path) -> Path:
    h5(path.with_name("secret.h5"))
    layout = h5py.VirtualLayout((N, D), "f4")
    layout[:] = h5py.VirtualSource("secret.h5", "b", (N, D))
    with h5py.File(h5(path, b=None), "a") as file:
        file.create_virtual_dataset("b", layout)
    return path


def huge(path: Path, shape: tuple[int, ...]) -> Path:
    with h5py.File(h5(path, b=None), "a") as file:
        file.create_dataset("b", shape, "f4", chunks=(1, 4))
    return path


def huge_ids(path: Path) -> Path:
    with h5py.File(h5(path, ids=None), "a") as file:
        file.create_dataset("ids", (10**12,), "S8", chunks=(1024,))
    return path


def bad_sum(path: Path) -> Path:
    with h5py.File(h5(path, b=None), "a") as file:
        file.create_dataset("b", data=B, fletcher32=True)
    data = bytearray(path.read_bytes())
    data[bytes(data).index(B.tobytes()) + 5] ^= 0xFF
    path.write_bytes(data)
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def stated(path: Path, text: str) -> Path:
    with h5py.File(h5(path), "a") as file:
        file.attrs["serves"] = np.bytes_(text.encode())
    return path


CASES: dict[str, Case] = {
    "NaN": ("x.npz", lambda p: npz(p, a=changed(A, 3, np.nan)), ("NaN", "a, row 3", "item-3")),
    "NaN in h5": ("x.h5", lambda p: h5(p, b=changed(B, 5, np.nan)), ("NaN", "b, row 5")),
    "infinite": ("x.npz", lambda p: npz(p, b=changed(B, 0, np.inf)), ("infinite", "b, row 0")),
    "minus infinite": ("x.h5", lambda p: h5(p, a=changed(A, 1, -np.inf)), ("infinite", "a, row 1")),
    "zero row": ("x.npz", lambda p: npz(p, a=zeroed(A, 4)), ("zeros", "a, row 4", "item-4")),
    "one dimension": ("x.npz", lambda p: npz(p, a=A[:, 0]), ("shape (6,)", ", a")),
    "three dimensions": ("x.h5", lambda p: h5(p, a=A[:, :, None]), ("shape (6, 4, 1)", ", a")),
    "no dimension": ("x.npz", lambda p: npz(p, b=np.float32(1)), ("shape ()", ", b")),
    "no width": ("x.npz", lambda p: npz(p, b=B[:, :0]), ("shape (6, 0)", ", b")),
    "a row too few": ("x.npz", lambda p: npz(p, a=A[:-1]), ("5 rows for 6 ids", ", a")),
    "a row too many": ("x.h5", lambda p: h5(p, b=np.r_[B, B[:1]]), ("7 rows for 6 ids", ", b")),
    "widths differ": ("x.npz", lambda p: npz(p, b=B[:, :3]), ("'a' has 4", "'b' 3", "ab")),
    "integers": ("x.npz", lambda p: npz(p, a=np.ones((N, D), int)), ("int64", ", a")),
    "complex": ("x.h5", lambda p: h5(p, a=A.astype(complex)), ("complex128", ", a")),
    "booleans": ("x.npz", lambda p: npz(p, b=B > 0), ("bool", ", b")),
    "text for vectors": ("x.npz", lambda p: npz(p, b=B.astype(str)), ("<U", ", b")),
    "ids repeat": (
        "x.npz", lambda p: npz(p, ids=IDS[[0, 1, 2, 1, 4, 5]]),
        ("'item-1' repeats", "rows 1 and 3")),
    "unknown ids": (
        "x.npz", lambda p: npz(p, ids=np.r_[IDS[:4], ["x-1", "x-2"]]),
        ("2 of 6 ids", "x-1, x-2", "ids, row 4")),
    "numbers for ids": ("x.npz", lambda p: npz(p, ids=np.arange(N)), ("int64, not text", "ids")),
    "ids of variable length": (
        "x.h5", lambda p: h5(p, ids=np.array(IDS, dtype=object)), ('ids.astype("S")', "ids")),
    "an empty id": ("x.h5", lambda p: h5(p, ids=np.array([b"x"] * 5 + [b""])), ("ids, row 5",)),
    "an id of other letters": (
        "x.h5", lambda p: h5(p, ids=np.array([b"x"] * 2 + [b"\xff\xfe"] * 4)), ("ids, row 2",)),
    "ids of two dimensions": ("x.npz", lambda p: npz(p, ids=IDS[:, None]), ("(6, 1)", "ids")),
    "no rows": (
        "x.npz", lambda p: npz(p, ids=IDS[:0], a=A[:0], b=B[:0]), ("'ids' is empty", "ids")),
    "no ids": ("x.h5", lambda p: h5(p, ids=None), ("no array 'ids'",)),
    "no vectors": ("x.h5", lambda p: h5(p, a=None, b=None), ("no array of embeddings",)),
    "an unknown array": ("x.npz", lambda p: npz(p, emb=A), ("unknown array 'emb'",)),
    "half a direction": (
        "x.h5", lambda p: h5(p, b=None, **{"ab/query": A}), ("'ab/query' has no other side",)),
    "cut h5": ("x.h5", lambda p: cut(h5(p), 2200), ("damaged",)),
    "a checksum that fails": ("x.h5", bad_sum, ("damaged", ", b")),
    "a trillion rows in h5": ("x.h5", lambda p: huge(p, (10**12, D)), ("rows for 6", ", b")),
    "a billion dimensions in h5": ("x.h5", lambda p: huge(p, (N, 10**9)), ("1000000000", ", b")),
    "a trillion ids": ("x.h5", huge_ids, ("1,000,000,000,000 ids", "ids")),
    "a soft link": ("x.h5", soft, ("'b' is a link", ", b")),
    "a link to another file": ("x.h5", outside, ("'b' is a link to another file", ", b")),
    "ids in another file": ("x.h5", outside_ids, ("'ids' is a link to another file",)),
    "a group in another file": ("x.h5", linked_group, ("'ab' is a link to another file",)),
    "a loop of groups": ("x.h5", loop, ("'ab/query' is no array",)),
    "values in another file": ("x.h5", raw_outside, ("other files", ", b")),
    "a virtual array": ("x.h5", virtual, ("other files", ", b")),
    "a false statement": (
        "x.h5", lambda p: stated(p, '{"aa": "x"}'), ("damaged", "attribute serves")),
    "a view that is not there": (
        "x.h5", lambda p: stated(p, '{"aa": {"query": "u", "gallery": "u"}}'), ("'a/u'",)),
    "text as h5": ("x.h5", lambda p: written(p, b"ids,a,b\n"), ("damaged",)),
    "another kind of file": ("x.csv", lambda p: written(p, b"ids,a,b\n"), (".npz",)),
    "a folder": ("x.npz", folder, ("a folder",)),
    "no file": ("x.npz", lambda p: p, ("no such file",)),
}  # fmt: skip


def test_there_are_many_malformed_files() -> None:
    assert len(CASES) >= 40


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", CASES)
def test_a_malformed_file_is_refused_by_name(case: str, tmp_path: Path) -> None:
    refused(CASES[case], tmp_path)


def test_a_damaged_h5_never_ends_the_program(tmp_path: Path) -> None:
    """Single bytes changed anywhere: read as before or refused, nothing else."""
    sound = stated(tmp_path / "sound.h5", "{}").read_bytes()
    rng = np.random.default_rng(1)
    for _ in range(150):
        data = bytearray(sound)
        data[int(rng.integers(len(data)))] ^= int(rng.integers(1, 256))
        path = written(tmp_path / "x.h5", bytes(data))
        with contextlib.suppress(UserError):
            read_embeddings(path, KNOWN)
