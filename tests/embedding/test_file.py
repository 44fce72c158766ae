"""Files of embeddings by any program: sound ones are read, fifty malformed ones are refused."""

from __future__ import annotations

import contextlib
import pickle
import struct
import zipfile
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


class Bomb:
    """Unpickling this would leave a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


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


def twice(path: Path) -> Path:
    with zipfile.ZipFile(npz(path), "a") as file, pytest.warns(UserWarning):
        file.writestr("a.npy", b"")
    return path


def other_name(path: Path) -> Path:
    with zipfile.ZipFile(npz(path), "a") as file:
        file.writestr("readme.txt", "hello")
    return path


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def pickled(path: Path) -> Path:
    path.write_bytes(pickle.dumps(Bomb(path.with_name("exploded"))))
    return path


def objects(path: Path) -> Path:
    return npz(path, a=np.array([Bomb(path.with_name("exploded"))] * N, dtype=object))


def object_ids(path: Path) -> Path:
    return npz(path, ids=np.array([Bomb(path.with_name("exploded"))] * N, dtype=object))


def stated(path: Path, text: str) -> Path:
    with h5py.File(h5(path), "a") as file:
        file.attrs["serves"] = np.bytes_(text.encode())
    return path


WIDE = f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({N}, 1000000000)}}"
LONG = "{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000, 4)}"
NEGATIVE = "{'descr': '<f4', 'fortran_order': False, 'shape': (-1, 4)}"
CODE = "__import__('os').system('true')"
RAGGED = [[1.0] * D] * 3 + [[1.0] * (D - 1)] + [[1.0] * D] * 2
HOLE = [[1.0] * D] * 2 + [[1.0, None, 1.0, 1.0]] + [[1.0] * D] * 3
LOST = [[1.0] * D] * 4 + [None, [1.0] * D]

# name of the file, how it is made, and what its refusal must name
CASES: dict[str, tuple[str, Callable[[Path], Path], tuple[str, ...]]] = {
    "NaN": ("x.npz", lambda p: npz(p, a=changed(A, 3, np.nan)), ("NaN", "a, row 3", "item-3")),
    "NaN in h5": ("x.h5", lambda p: h5(p, b=changed(B, 5, np.nan)), ("NaN", "b, row 5")),
    "NaN in parquet": (
        "x.parquet", lambda p: parquet(p, a=list(changed(A, 2, np.nan))), ("NaN", "a, row 2")),
    "infinite": ("x.npz", lambda p: npz(p, b=changed(B, 0, np.inf)), ("infinite", "b, row 0")),
    "minus infinite": ("x.h5", lambda p: h5(p, a=changed(A, 1, -np.inf)), ("infinite", "a, row 1")),
    "zero row": ("x.npz", lambda p: npz(p, a=zeroed(A, 4)), ("zeros", "a, row 4", "item-4")),
    "zero row in parquet": (
        "x.parquet", lambda p: parquet(p, b=list(zeroed(B, 1))), ("zeros", "b, row 1")),
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
    "integers in parquet": (
        "x.parquet", lambda p: parquet(p, a=[[1, 2]] * N), ("not float", ", a")),
    "structured": (
        "x.npz", lambda p: npz(p, a=np.zeros((N, D), [("x", "f4")])), ("float32", ", a")),
    "ids repeat": (
        "x.npz", lambda p: npz(p, ids=IDS[[0, 1, 2, 1, 4, 5]]),
        ("'item-1' repeats", "rows 1 and 3")),
    "ids repeat in parquet": (
        "x.parquet", lambda p: parquet(p, id=["item-0"] * N), ("repeats (5", "rows 0 and 1")),
    "unknown ids": (
        "x.npz", lambda p: npz(p, ids=np.r_[IDS[:4], ["x-1", "x-2"]]),
        ("2 of 6 ids", "x-1, x-2", "ids, row 4")),
    "numbers for ids": ("x.npz", lambda p: npz(p, ids=np.arange(N)), ("int64, not text", "ids")),
    "ids of variable length": (
        "x.h5", lambda p: h5(p, ids=np.array(IDS, dtype=object)), ('ids.astype("S")', "ids")),
    "an empty id": ("x.h5", lambda p: h5(p, ids=np.array([b"x"] * 5 + [b""])), ("ids, row 5",)),
    "an id of other letters": (
        "x.h5", lambda p: h5(p, ids=np.array([b"x"] * 2 + [b"\xff\xfe"] * 4)), ("ids, row 2",)),
    "a null id": (
        "x.parquet", lambda p: parquet(p, id=[*IDS[:5], None]), ("id, row 5", "no text")),
    "ids of two dimensions": ("x.npz", lambda p: npz(p, ids=IDS[:, None]), ("(6, 1)", "ids")),
    "no rows": (
        "x.npz", lambda p: npz(p, ids=IDS[:0], a=A[:0], b=B[:0]), ("'ids' is empty", "ids")),
    "no ids": ("x.h5", lambda p: h5(p, ids=None), ("no array 'ids'",)),
    "ids under another name": (
        "x.parquet", lambda p: parquet(p, id=None, ids=list(IDS)), ("rename 'ids' to 'id'",)),
    "no vectors": ("x.h5", lambda p: h5(p, a=None, b=None), ("no array of embeddings",)),
    "an unknown array": ("x.npz", lambda p: npz(p, emb=A), ("unknown array 'emb'",)),
    "half a direction": (
        "x.h5", lambda p: h5(p, b=None, **{"ab/query": A}), ("'ab/query' has no other side",)),
    "a pickle": ("x.npz", pickled, ("damaged",)),
    "object vectors": ("x.npz", objects, ("pickle", "never loaded", ", a")),
    "object ids": ("x.npz", object_ids, ("pickle", "never loaded", "ids")),
    "code for a header": ("x.npz", lambda p: raw_npz(p, "a", CODE), ("damaged", ", a")),
    "cut npz": ("x.npz", lambda p: cut(npz(p), 700), ("damaged",)),
    "cut h5": ("x.h5", lambda p: cut(h5(p), 2200), ("damaged",)),
    "cut parquet": ("x.parquet", lambda p: cut(parquet(p), 900), ("damaged",)),
    "a byte changed": ("x.npz", lambda p: flipped(npz(p)), ("damaged", ", a")),
    "a checksum that fails": ("x.h5", bad_sum, ("damaged", ", b")),
    "a cut array": (
        "x.npz", lambda p: raw_npz(p, "a", WIDE.replace("1000000000", "4"), b"\1" * 20),
        ("damaged", ", a")),
    "a billion dimensions": (
        "x.npz", lambda p: raw_npz(p, "b", WIDE, bytes(10**6)), ("1000000000", ", b")),
    "a trillion rows": ("x.npz", lambda p: raw_npz(p, "b", LONG), ("rows for 6 ids", ", b")),
    "less than no rows": ("x.npz", lambda p: raw_npz(p, "b", NEGATIVE), (", b",)),
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
    "a false statement": ("x.h5", lambda p: stated(p, '{"aa": "x"}'), ("'serves'",)),
    "a view that is not there": (
        "x.h5", lambda p: stated(p, '{"aa": {"query": "u", "gallery": "u"}}'), ("'a/u'",)),
    "ragged": ("x.parquet", lambda p: parquet(p, a=RAGGED), ("3 long", "a, row 3")),
    "a hole": ("x.parquet", lambda p: parquet(p, a=HOLE), ("null", "a, row 2")),
    "a missing vector": ("x.parquet", lambda p: parquet(p, b=LOST), ("null", "b, row 4")),
    "an array twice": ("x.npz", twice, ("twice", ", a")),
    "something else in the archive": ("x.npz", other_name, ("'readme.txt' is no .npy array",)),
    "text": ("x.npz", lambda p: written(p, b"ids,a,b\n"), ("damaged",)),
    "text as h5": ("x.h5", lambda p: written(p, b"ids,a,b\n"), ("damaged",)),
    "text as parquet": ("x.parquet", lambda p: written(p, b"ids,a,b\n"), ("damaged",)),
    "nothing": ("x.npz", lambda p: written(p, b""), ("damaged",)),
    "another kind of file": ("x.csv", lambda p: written(p, b"ids,a,b\n"), (".npz",)),
    "a folder": ("x.npz", folder, ("a folder",)),
    "no file": ("x.npz", lambda p: p, ("no such file",)),
}  # fmt: skip


def test_there_are_at_least_fifty_malformed_files() -> None:
    assert len(CASES) >= 50


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("case", CASES)
def test_a_malformed_file_is_refused_by_name(case: str, tmp_path: Path) -> None:
    name, make, pieces = CASES[case]
    path = make(tmp_path / name)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UserError) as caught:
        read_embeddings(path, KNOWN)
    for piece in (*pieces, str(path)):
        assert piece in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before  # nothing was executed, nothing was written


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


@pytest.mark.parametrize("dtype", ["<f2", "<f8", ">f4"])
def test_other_floats_are_read(dtype: str, tmp_path: Path) -> None:
    found = read_embeddings(npz(tmp_path / "x.npz", a=A.astype(dtype)), KNOWN)
    np.testing.assert_allclose(found.arrays["a"], A, rtol=1e-3)


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
