"""Arrays out of .h5, .npz and .parquet files of anyone, declared before they are read.

No pickle is ever loaded and no link out of a file is followed. A reader declares shapes and types
alone, so that they can be held against the dataset before anything is read: a file of a kilobyte
may declare terabytes.
"""

from __future__ import annotations

import contextlib
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
from pydantic import TypeAdapter

from crbench.errors import UserError, needs
from crbench.records import Direction, Serves
from crbench.words import DIRECTIONS

# HDF5's own filters and h5py's lzf: all others are plug-ins, code loaded from elsewhere
_FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset"}
_FILTERS |= {32000: "lzf"}
_ATTRIBUTES = ("serves", "about", "seconds", "device")  # of an HDF5 file, where crbench wrote it
_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}
BROKEN: tuple[type[Exception], ...] = (
    OSError, LookupError, ValueError, TypeError, RuntimeError, EOFError, MemoryError, SyntaxError,
    ArithmeticError, zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError,
)  # fmt: skip
REWRITE = "write the file again; docs/embeddings.md shows how"

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
def open_vectors(path: Path) -> Iterator[VectorFile]:
    """Open a file of embeddings by its ending, .h5, .npz or .parquet, without reading an array."""
    if path.is_dir():
        raise UserError("this is a folder, not a file of embeddings", where=path)
    if not path.is_file():
        raise UserError("no such file", where=path, fix="check the path")
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        known = ", ".join(_READERS)
        raise UserError(f"embeddings are read from {known} files", where=path, fix=REWRITE)
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(reader(path))
        except BROKEN as error:
            raise damaged(path, error) from error
        yield file


@contextlib.contextmanager
def _open_hdf5(path: Path) -> Iterator[VectorFile]:
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


@contextlib.contextmanager
def _open_npz(path: Path) -> Iterator[VectorFile]:
    """The .npy arrays of an archive of NumPy; their headers are parsed, never evaluated."""
    with zipfile.ZipFile(path) as archive:
        arrays: dict[str, Declared] = {}
        for entry in archive.infolist():
            name = entry.filename.removesuffix(".npy")
            if name == entry.filename or name in arrays:
                what = "stands twice in the archive" if name in arrays else "is no .npy array"
                raise wrong(path, name, f"'{entry.filename}' {what}")
            try:
                with archive.open(entry) as handle:
                    read_header = _HEADERS[np.lib.format.read_magic(handle)]
                    shape, _, dtype = read_header(handle)
            except BROKEN as error:
                raise damaged(path, error, name) from error

            def read(entry: zipfile.ZipInfo = entry) -> np.ndarray:
                with archive.open(entry) as handle:
                    array: np.ndarray = np.lib.format.read_array(handle, allow_pickle=False)
                    if handle.read(1):
                        raise ValueError("bytes follow the end of the array")
                    return array

            arrays[name] = Declared(shape, dtype, read)
        yield VectorFile(path, "ids", arrays)


@contextlib.contextmanager
def _open_parquet(path: Path) -> Iterator[VectorFile]:
    """The columns of a Parquet file: text, and lists of numbers."""
    with needs("parquet", "reading .parquet", where=path, otherwise=", or write .npz"):
        import pyarrow as pa
        import pyarrow.parquet as pq
    lists = (pa.ListType, pa.LargeListType, pa.FixedSizeListType)
    # as a dictionary, one long text that stands in every row is held once
    texts = [name for name in pq.read_schema(path).names if name == "id"]
    with pq.ParquetFile(path, memory_map=False, read_dictionary=texts) as file:
        arrays: dict[str, Declared] = {}
        rows = file.metadata.num_rows
        for column in file.schema_arrow:
            name, kind = column.name, column.type

            def read_text(name: str = name) -> np.ndarray:
                return np.array(file.read(columns=[name])[name].to_pylist(), dtype=object)

            def read_vectors(name: str = name) -> np.ndarray:
                return _column_vectors(path, file, name)

            if pa.types.is_dictionary(kind):
                kind = kind.value_type
            if pa.types.is_string(kind) or pa.types.is_large_string(kind):
                arrays[name] = Declared((rows,), None, read_text)
            elif isinstance(kind, lists) and pa.types.is_floating(kind.value_type):
                width = max(1, _count_values(file, name) // max(1, rows))
                dtype = np.dtype(kind.value_type.to_pandas_dtype())
                arrays[name] = Declared((rows, width), dtype, read_vectors)
            else:  # never read: neither ids nor vectors
                arrays[name] = Declared((rows,), np.dtype(object), read_text)
        yield VectorFile(path, "id", arrays)


def _count_values(file: Any, name: str) -> int:
    """Values of a list column that its pages declare, over all row groups."""
    groups = (file.metadata.row_group(i) for i in range(file.metadata.num_row_groups))
    columns = (group.column(i) for group in groups for i in range(group.num_columns))
    return sum(c.num_values for c in columns if c.path_in_schema.split(".")[0] == name)


def _column_vectors(path: Path, file: Any, name: str) -> np.ndarray:
    """Lists of one length → (N, D), block by block; numbers that are null become NaN."""
    blocks: list[np.ndarray] = []
    done, width = 0, None
    for batch in file.iter_batches(columns=[name]):
        column = batch.column(0)
        lengths = column.value_lengths().to_numpy(zero_copy_only=False)  # NaN where there is none
        width = lengths[0] if width is None else width
        odd = np.flatnonzero(lengths != width)
        if len(odd):
            what = "a vector is null, or not as long as the first one"
            raise wrong(path, name, what, row=done + int(odd[0]))
        flat = column.flatten().to_numpy(zero_copy_only=False)
        blocks.append(flat.reshape(len(column), int(width)))
        done += len(column)
    return np.concatenate(blocks)


_READERS = {
    ".h5": _open_hdf5,
    ".hdf5": _open_hdf5,
    ".npz": _open_npz,
    ".parquet": _open_parquet,
}
