"""Files of embeddings of anyone: declared, held against their dataset, then read.

No pickle is ever loaded and no link out of a file is followed. A reader declares shapes and types
alone, so that they can be held against the dataset before anything is read: a file of a kilobyte
may declare terabytes. Every refusal names the array and, where there is one, the row. HDF5 is read
here, NumPy's archives and Parquet in :mod:`crbench.embedding.other_formats`.
"""

from __future__ import annotations

import contextlib
import math
import os
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from pydantic import TypeAdapter

from crbench.errors import UserError, nearest
from crbench.records import Direction, Serves
from crbench.scoring.protocol import check_distinct
from crbench.scoring.tiles import first_bad_row
from crbench.words import DIRECTIONS, ROLES

# HDF5's own filters and h5py's lzf: all others are plug-ins, code loaded from elsewhere
_FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset"}
_FILTERS |= {32000: "lzf"}
_ATTRIBUTES = ("serves", "about", "seconds", "device")  # of an HDF5 file, where crbench wrote it
BROKEN: tuple[type[Exception], ...] = (
    OSError, LookupError, ValueError, TypeError, RuntimeError, EOFError, MemoryError, SyntaxError,
    ArithmeticError, zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError,
)  # fmt: skip
REWRITE = "write the file again; docs/embeddings.md shows how"
_MAX_WIDTH = 65_536  # dimensions of an embedding; also bounds what one row may take
_MAX_ID_LENGTH = 4096
_NAMED = ("a", "b", *(f"{d}/{role}" for d in DIRECTIONS for role in ROLES))
_SHOWN = 5  # ids listed in a message
_ROWS = 8192

Served = dict[str, tuple[str, str]]  # direction → names of the arrays of its queries and gallery


@dataclass(frozen=True)
class Declared:
    """An array as its file declares it, not yet read: ``read()`` gives it."""

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

    def array(self, name: str) -> np.ndarray:
        """Read one array; damage is a UserError that names it."""
        try:
            return self.arrays[name].read()
        except BROKEN as error:
            raise damaged(self.path, error, name) from error

    def stated(self, key: str, parse: Callable[[str], dict[str, Any]]) -> dict[str, Any]:
        """What the attribute ``key`` holds as JSON, empty unless crbench wrote the file."""
        try:
            return dict(parse(self.attributes.get(key, "{}")))
        except BROKEN as error:
            raise damaged(self.path, error, f"attribute {key}") from error


Reader = Callable[[Path], AbstractContextManager[VectorFile]]


def parse_serves(text: str | bytes) -> Served:
    """The attribute ``serves`` of a file that crbench wrote; ValueError where it is none."""
    views = TypeAdapter(dict[Direction, Serves]).validate_json(text)
    return {
        d: (f"{d[0]}/{views[d].query}", f"{d[1]}/{views[d].gallery}")
        for d in DIRECTIONS
        if d in views
    }


def wrong(
    path: Path, name: str, what: str, *, row: int | None = None, fix: str = REWRITE
) -> UserError:
    """The UserError that says what is wrong with an array of a file, or with a ``row`` of it."""
    at = f"{path}, {name}" + ("" if row is None else f", row {row}")
    return UserError(what, where=at, fix=fix)


def damaged(path: Path, error: Exception, name: str | None = None) -> UserError:
    """The UserError of bytes, in the whole file or its array ``name``, that are not what they
    should be."""
    text = (str(error).splitlines() or [""])[0][:160] or type(error).__name__
    what = f"the file is damaged or not what its name says ({text})"
    return wrong(path, name, what) if name else UserError(what, where=path, fix=REWRITE)


@contextlib.contextmanager
def open_vectors(path: Path, readers: Mapping[str, Reader]) -> Iterator[VectorFile]:
    """Open a file of embeddings by its ending, one of ``readers``, without reading an array."""
    if path.is_dir():
        raise UserError("this is a folder, not a file of embeddings", where=path)
    if not path.is_file():
        raise UserError("no such file", where=path, fix="check the path")
    reader = readers.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(readers)
        raise UserError(f"embeddings are read from {known} files", where=path, fix=REWRITE)
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(reader(path))
        except BROKEN as error:
            raise damaged(path, error) from error
        yield file


@contextlib.contextmanager
def open_hdf5(path: Path) -> Iterator[VectorFile]:
    """The datasets of an HDF5 file: its own, and no links, filters or heaps of text."""
    with h5py.File(path, "r") as file:
        attributes = {}
        for key in _ATTRIBUTES:
            if key in file.attrs and _fixed(file.attrs.get_id(key).dtype):
                value = file.attrs[key]
                attributes[key] = value.decode().strip() if isinstance(value, bytes) else value
        yield VectorFile(path, "ids", dict(_walk(path, file)), attributes)


def _walk(path: Path, group: Any, prefix: str = "") -> Iterator[tuple[str, Declared]]:
    """Every dataset of a group and of the groups in it; links are refused, not followed."""
    for key in group:
        name, link = prefix + key, group.get(key, getlink=True)
        if not isinstance(link, h5py.HardLink):
            kind = "another file" if isinstance(link, h5py.ExternalLink) else "another place"
            what = f"'{name}' is a link to {kind}, and links are not followed"
            raise wrong(path, name, what, fix="store the array itself")
        entry = group[key]
        if isinstance(entry, h5py.Dataset):
            yield name, _declared(path, entry, name)
        elif isinstance(entry, h5py.Group) and not prefix:
            yield from _walk(path, entry, f"{name}/")
        else:
            raise wrong(path, name, f"'{name}' is no array")


def _declared(path: Path, data: Any, name: str) -> Declared:
    if data.is_virtual or data.external:
        what = "the array's values lie in other files, which are not read"
        raise wrong(path, name, what, fix="store the array itself")
    plist = data.id.get_create_plist()
    codes = [plist.get_filter(i)[0] for i in range(plist.get_nfilters())]
    if strange := [code for code in codes if code not in _FILTERS]:
        fix = f"use one of {', '.join(_FILTERS.values())}, or none"
        raise wrong(path, name, f"the array is compressed by filter {strange[0]}", fix=fix)
    if data.shape is None:
        raise wrong(path, name, "the array is empty")
    variable = h5py.check_string_dtype(data.dtype) is not None and not _fixed(data.dtype)
    return Declared(data.shape, data.dtype, lambda: data[...], variable)


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
    for name in used:
        _check_shape(file, name, len(ids))
    _check_memory(file, used)
    arrays = {name: _vectors(file, name, ids) for name in used}
    for d, (query, gallery) in serves.items():
        widths = [arrays[name].shape[1] for name in (query, gallery)]
        if widths[0] != widths[1]:
            raise UserError(
                f"'{query}' has {widths[0]} dimensions and '{gallery}' {widths[1]}, "
                f"so direction {d} has no inner product",
                where=file.path,
                fix=f"give {d}/query and {d}/gallery of one width, or a and b",
            )
    return ids, arrays, serves


def _ids(file: VectorFile, known: np.ndarray) -> np.ndarray:
    name = file.id_name
    if name not in file.arrays:
        raise UserError(f"there is no array '{name}'", where=file.path, fix=_near(file, name))
    declared = file.arrays[name]
    if len(declared.shape) != 1:
        raise wrong(file.path, name, f"'{name}' has shape {declared.shape}, not (N,)")
    if declared.variable:
        what = f"'{name}' is text of variable length, which HDF5 does not read safely"
        fix = 'store text of fixed length: ids.astype("S"), or np.char.encode(ids) beyond ASCII'
        raise wrong(file.path, name, what, fix=fix)
    if declared.dtype is not None and declared.dtype.kind not in "SU":
        what = f"'{name}' holds {_kind(declared.dtype)}, not text"
        raise wrong(
            file.path, name, what, fix="store the ids as text, as `crbench cache` keeps them"
        )
    if declared.shape[0] == 0:
        raise wrong(file.path, name, f"'{name}' is empty")
    if declared.shape[0] > 2 * len(known) + 1000:
        what = f"{declared.shape[0]:,} ids, and the dataset has {len(known):,} items"
        fix = "leave out what is not of this dataset, or name the right --dataset"
        raise wrong(file.path, name, what, fix=fix)
    _check_memory(file, [name])
    ids = np.array([_text(file, row, value) for row, value in enumerate(file.array(name))])
    check_distinct(ids, where=f"{file.path}, {name}", fix="write one row per item")
    foreign = np.flatnonzero(~np.isin(ids, known))
    if len(foreign):
        listed = ", ".join(str(ids[row]) for row in foreign[:_SHOWN])
        raise wrong(
            file.path,
            name,
            f"{len(foreign)} of {len(ids)} ids are not in the dataset, e.g. {listed} "
            f"(its ids look like {known[0]})",
            row=int(foreign[0]),
            fix="take the ids of the dataset's cache, or name the right --dataset",
        )
    return ids


def _text(file: VectorFile, row: int, value: Any) -> str:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    if not isinstance(text, str) or not 0 < len(text) <= _MAX_ID_LENGTH or "\ufffd" in text:
        what = "an id is no text (empty, null, too long or not UTF-8)"
        raise wrong(file.path, file.id_name, what, row=row)
    return text


def _serves(file: VectorFile) -> Served:
    """Which arrays serve which direction, by the file's own statement or by their names."""
    serves: Served = file.stated("serves", parse_serves)
    if serves:
        for name in (name for pair in serves.values() for name in pair):
            if name not in file.arrays:
                raise UserError(f"there is no array '{name}'", where=file.path, fix=REWRITE)
        return serves
    vectors = [name for name in file.arrays if name not in (file.id_name, "split")]
    if unknown := [name for name in vectors if name not in _NAMED]:
        fix = f"arrays are {file.id_name}, a, b and aa/query … ba/gallery; {REWRITE}"
        raise UserError(f"unknown array '{unknown[0]}'", where=file.path, fix=fix)
    for d in DIRECTIONS:
        sides = [
            next((name for name in (f"{d}/{role}", which) if name in vectors), None)
            for role, which in zip(ROLES, d, strict=True)
        ]
        if sides[0] and sides[1]:
            serves[d] = (sides[0], sides[1])
        elif lone := [f"{d}/{role}" for role in ROLES if f"{d}/{role}" in vectors]:
            fix = f"store both sides of {d}, or a and b"
            raise wrong(file.path, lone[0], f"'{lone[0]}' has no other side", fix=fix)
    if not serves:
        raise UserError("there is no array of embeddings", where=file.path, fix=_near(file, "a"))
    return serves


def _near(file: VectorFile, name: str) -> str:
    close = nearest(name, file.arrays)
    listed = ", ".join(file.arrays) or "none"
    return (f"rename '{close}' to '{name}'" if close else REWRITE) + f" (arrays: {listed})"


def _check_shape(file: VectorFile, name: str, n: int) -> None:
    shape, dtype = file.arrays[name].shape, file.arrays[name].dtype
    if dtype is None or dtype.kind != "f" or dtype.itemsize > 8:
        kind = "text" if dtype is None else _kind(dtype)
        raise wrong(file.path, name, f"'{name}' holds {kind}, not float16, float32 or float64")
    if len(shape) != 2 or not 0 < shape[1] <= _MAX_WIDTH:
        what = f"'{name}' has shape {shape}, not (N, D) with D from 1 to {_MAX_WIDTH:,}"
        raise wrong(file.path, name, what)
    if shape[0] != n:
        what = f"'{name}' has {shape[0]:,} rows for {n:,} ids"
        raise wrong(file.path, name, what, fix="write one row per id, in their order")


def _check_memory(file: VectorFile, names: list[str]) -> None:
    declared = [file.arrays[name] for name in names]
    need = sum(math.prod(d.shape) * d.dtype.itemsize for d in declared if d.dtype)
    have = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if need > have // 2:
        what = f"the arrays declare {need / 2**30:,.0f} GiB, this machine has {have / 2**30:,.0f}"
        raise wrong(file.path, names[-1], what, fix="store float32, or fewer arrays in one file")


def _vectors(file: VectorFile, name: str, ids: np.ndarray) -> np.ndarray:
    array = file.array(name)
    if array.shape != file.arrays[name].shape:
        raise wrong(file.path, name, f"'{name}' has shape {array.shape}, its header says otherwise")
    for start in range(0, len(array), _ROWS):
        largest = np.abs(array[start : start + _ROWS]).max(axis=1)
        if bad := first_bad_row(largest):
            row = start + bad[0]
            what = f"the vector of id '{ids[row]}' holds {bad[1]}"
            raise wrong(file.path, name, what, row=row, fix="embed this item again")
    return np.asarray(array, dtype=array.dtype.newbyteorder("="))


def _kind(dtype: np.dtype) -> str:
    return "Python objects (a pickle, which is never loaded)" if dtype.hasobject else str(dtype)
