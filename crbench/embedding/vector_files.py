"""Arrays out of .h5, .npz and .parquet files of anyone, read as hostile until shown sound.

No pickle is ever loaded and no link out of a file is followed. A reader first declares shapes and
types, so that its caller can hold them against the dataset before anything is read: a file of a
kilobyte may declare terabytes.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from crbench.errors import UserError, nearest
from crbench.scoring.protocol import check_distinct
from crbench.words import DIRECTIONS, ROLES

_MAX_WIDTH = 65_536  # dimensions of an embedding; also bounds what one row may take
_MAX_ID_BYTES = 4096
# HDF5's own filters and h5py's lzf: all others are plug-ins, code loaded from elsewhere
_FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset"}
_FILTERS |= {32000: "lzf"}
BROKEN: tuple[type[Exception], ...] = (
    OSError, LookupError, ValueError, TypeError, RuntimeError, EOFError, MemoryError, SyntaxError,
    ArithmeticError, zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError,
)  # fmt: skip
_ATTRIBUTES = ("serves", "about", "seconds", "device")  # of an HDF5 file, where crbench wrote it
REWRITE = "write the file again; docs/embeddings.md shows how"
_READERS = {  # by ending; those beside HDF5 are imported when they are asked for
    ".h5": "vector_files:open_hdf5",
    ".hdf5": "vector_files:open_hdf5",
    ".npz": "other_formats:open_npz",
    ".parquet": "other_formats:open_parquet",
}
_NAMED = ("a", "b", *(f"{d}/{role}" for d in DIRECTIONS for role in ROLES))
_SHOWN = 5  # ids listed in a message
_ROWS = 8192

Served = dict[str, tuple[str, str]]  # direction → names of the arrays of its queries and gallery


@dataclass(frozen=True)
class Declared:
    """An array as its file declares it, not yet read: ``read()`` gives it."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype | None  # None: text of any length
    read: Callable[[], np.ndarray]
    variable: bool = False  # text in the heap of an HDF5 file


@dataclass
class VectorFile:
    """The arrays that a file declares, by name, and its attributes (HDF5 alone has any)."""

    path: Path
    id_name: str
    arrays: dict[str, Declared]
    attributes: dict[str, Any] = field(default_factory=dict)

    def at(self, name: str, row: int | None = None) -> str:
        """Where in the file: array and row."""
        return f"{self.path}, {name}" + ("" if row is None else f", row {row}")

    def array(self, name: str) -> np.ndarray:
        """Read one array; damage is a UserError that names it."""
        try:
            return self.arrays[name].read()
        except BROKEN as error:
            raise damaged(self.at(name), error) from error


def damaged(where: str, error: Exception) -> UserError:
    """The UserError of bytes that are not what they should be."""
    text = (str(error).splitlines() or [""])[0][:160] or type(error).__name__
    return UserError(f"the file is damaged or not what its name says ({text})", where=where,
                     fix=REWRITE)  # fmt: skip


@contextlib.contextmanager
def open_vectors(path: Path) -> Iterator[VectorFile]:
    """Open a file of embeddings by its ending, .h5, .npz or .parquet, without reading an array."""
    reader = _READERS.get(path.suffix.lower())
    if path.is_dir():
        raise UserError("this is a folder, not a file of embeddings", where=path)
    if not path.is_file():
        raise UserError("no such file", where=path, fix="check the path")
    if reader is None:
        known = ", ".join(_READERS)
        raise UserError(f"embeddings are read from {known} files", where=path, fix=REWRITE)
    module, _, name = reader.partition(":")
    with contextlib.ExitStack() as stack:
        try:
            open_file = getattr(importlib.import_module(f"crbench.embedding.{module}"), name)
            file = stack.enter_context(open_file(path))
        except UserError:
            raise
        except BROKEN as error:
            raise damaged(str(path), error) from error
        yield file


@contextlib.contextmanager
def open_hdf5(path: Path) -> Iterator[VectorFile]:
    """The datasets of an HDF5 file: its own, and no links, filters or heaps of text."""
    with h5py.File(path, "r") as file:
        arrays: dict[str, Declared] = {}
        _walk(path, file, "", arrays, depth=0)
        attributes = {}
        for key in _ATTRIBUTES:
            if key in file.attrs and _fixed(file.attrs.get_id(key).dtype):
                value = file.attrs[key]
                attributes[key] = value.decode().strip() if isinstance(value, bytes) else value
        yield VectorFile(path, "ids", arrays, attributes)


def _walk(path: Path, group: Any, prefix: str, arrays: dict[str, Declared], depth: int) -> None:
    """Declare every dataset of a group; links are refused, not followed."""
    for key in group:
        name = prefix + key
        link = group.get(key, getlink=True)
        if not isinstance(link, h5py.HardLink):
            kind = "another file" if isinstance(link, h5py.ExternalLink) else "another place"
            raise UserError(
                f"'{name}' is a link to {kind}, and links are not followed",
                where=f"{path}, {name}",
                fix="store the array itself",
            )
        entry = group[key]
        if isinstance(entry, h5py.Dataset):
            arrays[name] = _declared(path, entry, name)
        elif isinstance(entry, h5py.Group) and depth == 0:
            _walk(path, entry, f"{name}/", arrays, depth + 1)
        else:
            raise UserError(f"'{name}' is no array", where=f"{path}, {name}", fix=REWRITE)


def _declared(path: Path, data: Any, name: str) -> Declared:
    where = f"{path}, {name}"
    if data.is_virtual or data.external:
        raise UserError("the array's values lie in other files, which are not read", where=where,
                        fix="store the array itself")  # fmt: skip
    plist = data.id.get_create_plist()
    codes = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    if strange := [code for code in codes if code not in _FILTERS]:
        raise UserError(f"the array is compressed by filter {strange[0]}", where=where,
                        fix=f"use one of {', '.join(_FILTERS.values())}, or none")  # fmt: skip
    if data.shape is None:
        raise UserError("the array is empty", where=where, fix=REWRITE)
    variable = h5py.check_string_dtype(data.dtype) is not None and not _fixed(data.dtype)
    return Declared(name, data.shape, data.dtype, lambda: data[...], variable)


def _fixed(dtype: np.dtype) -> bool:
    """Whether values have one length. Others lie in a heap, and in a damaged one HDF5 may search
    without end."""
    return not dtype.hasobject


def checked_vectors(
    file: VectorFile, known: np.ndarray
) -> tuple[np.ndarray, dict[str, np.ndarray], Served]:
    """Ids (N,), arrays (N, D) by name, and what serves what, of a dataset whose ids are ``known``.

    Every row is checked, also of items that no protocol scores.
    """
    ids = _ids(file, known)
    serves = _serves(file)
    used = list(dict.fromkeys(name for pair in serves.values() for name in pair))
    _check_shapes(file, used, len(ids))
    _check_memory(file, used)
    arrays = {name: _vectors(file, name, ids) for name in used}
    _check_widths(file.path, arrays, serves)
    return ids, arrays, serves


def _ids(file: VectorFile, known: np.ndarray) -> np.ndarray:
    name = file.id_name
    if name not in file.arrays:
        raise UserError(f"there is no array '{name}'", where=file.path, fix=_near(file, name))
    declared, where = file.arrays[name], file.at(name)
    if len(declared.shape) != 1:
        raise UserError(f"'{name}' has shape {declared.shape}, not (N,)", where=where, fix=REWRITE)
    if declared.variable:
        raise UserError(
            f"'{name}' is text of variable length, which HDF5 does not read safely where a file "
            "is damaged",
            where=where,
            fix='store text of fixed length: ids.astype("S"), or np.char.encode(ids) beyond ASCII',
        )
    if declared.dtype is not None and declared.dtype.kind not in "SU":
        raise UserError(
            f"'{name}' holds {_kind(declared.dtype)}, not text",
            where=where,
            fix="store the ids as text, as `crbench cache` keeps them",
        )
    if declared.dtype is not None and declared.dtype.itemsize > 4 * _MAX_ID_BYTES:
        raise UserError("an id may have 4,096 characters at most", where=where, fix=REWRITE)
    if declared.shape[0] == 0:
        raise UserError(f"'{name}' is empty", where=where, fix=REWRITE)
    if declared.shape[0] > 2 * len(known) + 1000:
        raise UserError(
            f"{declared.shape[0]:,} ids, and the dataset has {len(known):,} items", where=where,
            fix="leave out what is not of this dataset, or name the right --dataset",
        )  # fmt: skip
    ids = np.array([_text(file, row, value) for row, value in enumerate(file.array(name))])
    _check_ids(file, ids, known)
    return ids


def _text(file: VectorFile, row: int, value: Any) -> str:
    try:
        text = value.decode("utf-8") if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        text = None
    if not isinstance(text, str) or not text or len(text) > _MAX_ID_BYTES:
        raise UserError("an id is no text (empty, null, too long or not UTF-8)",
                        where=file.at(file.id_name, row), fix=REWRITE)  # fmt: skip
    return text


def _check_ids(file: VectorFile, ids: np.ndarray, known: np.ndarray) -> None:
    check_distinct(ids, where=f"{file.path}, {file.id_name}", fix="write one row per item")
    foreign = np.flatnonzero(~np.isin(ids, known))
    if len(foreign):
        listed = ", ".join(str(ids[row]) for row in foreign[:_SHOWN])
        raise UserError(
            f"{len(foreign)} of {len(ids)} ids are not in the dataset, e.g. {listed} "
            f"(its ids look like {known[0]})",
            where=file.at(file.id_name, int(foreign[0])),
            fix="take the ids of the dataset's cache, or name the right --dataset",
        )


def _serves(file: VectorFile) -> Served:
    """Which arrays serve which direction, by the file's own statement or by their names."""
    vectors = [name for name in file.arrays if name not in (file.id_name, "split")]
    if stated := json_attribute(file, "serves"):
        return _stated(file, stated)
    if unknown := [name for name in vectors if name not in _NAMED]:
        raise UserError(
            f"unknown array '{unknown[0]}'",
            where=file.path,
            fix=f"arrays are {file.id_name}, a, b and aa/query … ba/gallery; {REWRITE}",
        )
    serves: Served = {}
    for d in DIRECTIONS:
        sides = [
            next((name for name in (f"{d}/{role}", which) if name in vectors), None)
            for role, which in zip(ROLES, d, strict=True)
        ]
        if sides[0] and sides[1]:
            serves[d] = (sides[0], sides[1])
        elif lone := [f"{d}/{role}" for role in ROLES if f"{d}/{role}" in vectors]:
            raise UserError(f"'{lone[0]}' has no other side", where=file.at(lone[0]),
                            fix=f"store both sides of {d}, or a and b")  # fmt: skip
    if not serves:
        raise UserError("there is no array of embeddings", where=file.path, fix=_near(file, "a"))
    return serves


def _stated(file: VectorFile, stated: dict[str, Any]) -> Served:
    serves: Served = {}
    for d in DIRECTIONS:
        if d in stated:
            views = stated[d]
            names = tuple(f"{m}/{views[role]}" for m, role in zip(d, ROLES, strict=True))
            if missing := [name for name in names if name not in file.arrays]:
                raise UserError(f"there is no array '{missing[0]}'", where=file.path, fix=REWRITE)
            serves[d] = (names[0], names[1])
    return serves


def json_attribute(file: VectorFile, key: str) -> dict[str, Any]:
    """What an attribute holds as JSON, empty where it is absent."""
    text = file.attributes.get(key)
    try:
        value = json.loads(text) if isinstance(text, str) else {}
    except json.JSONDecodeError as error:
        raise damaged(file.at(f"attribute {key}"), error) from error
    if key == "serves" and not all(
        d in DIRECTIONS and isinstance(v, dict) and set(v) == set(ROLES) for d, v in value.items()
    ):
        raise UserError("'serves' does not say which view serves what", where=file.path)
    return dict(value)


def _near(file: VectorFile, name: str) -> str:
    close = nearest(name, file.arrays)
    listed = ", ".join(file.arrays) or "none"
    return (f"rename '{close}' to '{name}'" if close else REWRITE) + f" (arrays: {listed})"


def _check_shapes(file: VectorFile, names: list[str], n: int) -> None:
    for name in names:
        declared, where = file.arrays[name], file.at(name)
        if declared.dtype is None or declared.dtype.kind != "f" or declared.dtype.itemsize > 8:
            kind = "text" if declared.dtype is None else _kind(declared.dtype)
            raise UserError(f"'{name}' holds {kind}, not float16, float32 or float64", where=where,
                            fix=REWRITE)  # fmt: skip
        if len(declared.shape) != 2 or not 0 < declared.shape[1] <= _MAX_WIDTH:
            raise UserError(
                f"'{name}' has shape {declared.shape}, not (N, D) with D from 1 to {_MAX_WIDTH:,}",
                where=where,
                fix=REWRITE,
            )
        if declared.shape[0] != n:
            raise UserError(f"'{name}' has {declared.shape[0]:,} rows for {n:,} ids", where=where,
                            fix="write one row per id, in their order")  # fmt: skip


def _check_widths(path: Path, arrays: dict[str, np.ndarray], serves: Served) -> None:
    for d, (query, gallery) in serves.items():
        widths = [arrays[name].shape[1] for name in (query, gallery)]
        if widths[0] != widths[1]:
            raise UserError(
                f"'{query}' has {widths[0]} dimensions and '{gallery}' {widths[1]}, "
                f"so direction {d} has no inner product",
                where=path,
                fix=f"give {d}/query and {d}/gallery of one width, or a and b",
            )


def _check_memory(file: VectorFile, names: list[str]) -> None:
    declared = [file.arrays[name] for name in names]
    need = sum(d.shape[0] * d.shape[1] * d.dtype.itemsize for d in declared if d.dtype)
    have = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if need > have // 2:
        raise UserError(
            f"the arrays declare {need / 2**30:,.0f} GiB, this machine has {have / 2**30:,.0f}",
            where=file.at(max(names, key=lambda name: file.arrays[name].shape[1])),
            fix="store float32, or fewer arrays in one file",
        )  # fmt: skip


def _vectors(file: VectorFile, name: str, ids: np.ndarray) -> np.ndarray:
    array = file.array(name)
    if array.shape != file.arrays[name].shape:
        raise UserError(f"'{name}' has shape {array.shape}, its header says otherwise",
                        where=file.at(name), fix=REWRITE)  # fmt: skip
    for start in range(0, len(array), _ROWS):
        block = array[start : start + _ROWS]
        largest = np.abs(block).max(axis=1)
        bad = np.flatnonzero(~np.isfinite(largest) | (largest == 0))
        if len(bad):
            row = start + int(bad[0])
            value = largest[bad[0]]
            what = "NaN" if np.isnan(value) else "an infinite value" if value else "zeros alone"
            raise UserError(f"the vector of id '{ids[row]}' holds {what}", where=file.at(name, row),
                            fix="embed this item again")  # fmt: skip
    return np.asarray(array, dtype=array.dtype.newbyteorder("="))


def _kind(dtype: np.dtype) -> str:
    return "Python objects (a pickle, which is never loaded)" if dtype.hasobject else str(dtype)
