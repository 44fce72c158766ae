"""Raw arrays out of .h5, .npz and .parquet files of others, read as hostile until shown sound.

No pickle is ever loaded and no link out of a file is followed. A reader first declares shapes and
types, so that its caller can hold them against the dataset before anything is read: a file of a
kilobyte may declare terabytes.
"""

from __future__ import annotations

import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from crbench.errors import UserError

MAX_WIDTH = 65_536  # dimensions of an embedding; also bounds what one row may take
MAX_ID_BYTES = 4096
# HDF5's own filters and h5py's lzf: all others are plug-ins, code loaded from elsewhere
FILTERS = {1: "gzip", 2: "shuffle", 3: "fletcher32", 4: "szip", 5: "nbit", 6: "scaleoffset"}
FILTERS |= {32000: "lzf"}
BROKEN: tuple[type[Exception], ...] = (
    OSError, LookupError, ValueError, TypeError, RuntimeError, EOFError, MemoryError, SyntaxError,
    ArithmeticError, zipfile.BadZipFile, zlib.error, struct.error, tokenize.TokenError,
)  # fmt: skip
ATTRIBUTES = ("serves", "about", "seconds", "device")  # of an HDF5 file, where crbench wrote it
REWRITE = "write the file again; docs/embeddings.md shows how"


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


@contextmanager
def open_vectors(path: Path) -> Iterator[VectorFile]:
    """Open a file of embeddings by its ending, .h5, .npz or .parquet, without reading an array."""
    reader = READERS.get(path.suffix.lower())
    if path.is_dir():
        raise UserError("this is a folder, not a file of embeddings", where=path)
    if not path.is_file():
        raise UserError("no such file", where=path, fix="check the path")
    if reader is None:
        known = ", ".join(READERS)
        raise UserError(f"embeddings are read from {known} files", where=path, fix=REWRITE)
    try:
        opened = reader(path)
        found = opened.__enter__()
    except UserError:
        raise
    except BROKEN as error:
        raise damaged(str(path), error) from error
    try:
        yield found
    finally:
        opened.__exit__(None, None, None)


@contextmanager
def _hdf5(path: Path) -> Iterator[VectorFile]:
    with h5py.File(path, "r") as file:
        arrays: dict[str, Declared] = {}
        _walk(path, file, "", arrays, depth=0)
        attributes = {}
        for key in ATTRIBUTES:
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
    if strange := [code for code in codes if code not in FILTERS]:
        raise UserError(f"the array is compressed by filter {strange[0]}", where=where,
                        fix=f"use one of {', '.join(FILTERS.values())}, or none")  # fmt: skip
    if data.shape is None:
        raise UserError("the array is empty", where=where, fix=REWRITE)
    variable = h5py.check_string_dtype(data.dtype) is not None and not _fixed(data.dtype)
    return Declared(name, data.shape, data.dtype, lambda: data[...], variable)


def _fixed(dtype: np.dtype) -> bool:
    """Whether values have one length. Others lie in a heap, and in a damaged one HDF5 may search
    without end."""
    return not dtype.hasobject


@contextmanager
def _npz(path: Path) -> Iterator[VectorFile]:
    with zipfile.ZipFile(path) as archive:
        arrays: dict[str, Declared] = {}
        for entry in archive.infolist():
            name = entry.filename.removesuffix(".npy")
            where = f"{path}, {name}"
            if name == entry.filename or name in arrays:
                what = "stands twice in the archive" if name in arrays else "is no .npy array"
                raise UserError(f"'{entry.filename}' {what}", where=where, fix=REWRITE)
            try:
                shape, dtype = _npy_header(archive, entry)
            except BROKEN as error:
                raise damaged(where, error) from error

            def read(entry: zipfile.ZipInfo = entry) -> np.ndarray:
                with archive.open(entry) as handle:
                    array: np.ndarray = np.lib.format.read_array(handle, allow_pickle=False)
                    if handle.read(1):
                        raise ValueError("bytes follow the end of the array")
                    return array

            arrays[name] = Declared(name, shape, dtype, read)
        yield VectorFile(path, "ids", arrays)


def _npy_header(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> tuple[tuple[int, ...], Any]:
    """Shape and dtype that an .npy entry declares; its header is parsed, never evaluated."""
    with archive.open(entry) as handle:
        version = np.lib.format.read_magic(handle)
        if version == (1, 0):
            shape, _, dtype = np.lib.format.read_array_header_1_0(handle)
        else:
            shape, _, dtype = np.lib.format.read_array_header_2_0(handle)
    return shape, dtype


@contextmanager
def _parquet(path: Path) -> Iterator[VectorFile]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise UserError("reading .parquet needs pyarrow", where=path,
                        fix="pip install 'crbench[parquet]', or write .npz") from None  # fmt: skip
    # as a dictionary, one long text that stands in every row is held once
    texts = [name for name in pq.read_schema(path).names if name == "id"]
    with pq.ParquetFile(path, memory_map=False, read_dictionary=texts) as file:
        rows, schema = file.metadata.num_rows, file.schema_arrow
        arrays = {}
        for position, name in enumerate(schema.names):
            kind = schema.field(position).type
            if pa.types.is_dictionary(kind):
                kind = kind.value_type
            if pa.types.is_string(kind) or pa.types.is_large_string(kind):
                arrays[name] = Declared(name, (rows,), None, _column_text(file, name))
            elif _is_list(kind) and pa.types.is_floating(kind.value_type):
                dtype = np.dtype(kind.value_type.to_pandas_dtype())
                values = _values(file, name)
                width = max(1, values // max(1, rows))
                read = _column_vectors(path, file, name, dtype)
                arrays[name] = Declared(name, (rows, width), dtype, read)
            else:
                arrays[name] = Declared(name, (rows,), np.dtype(object), _refuse(str(kind)))
        yield VectorFile(path, "id", arrays)


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    checks = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(check(kind) for check in checks)


def _values(file: Any, name: str) -> int:
    """Values of a list column that its pages declare, over all row groups."""
    total = 0
    for group in range(file.metadata.num_row_groups):
        part = file.metadata.row_group(group)
        for column in range(part.num_columns):
            if part.column(column).path_in_schema.split(".")[0] == name:
                total += part.column(column).num_values
    return total


def _refuse(kind: str) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        raise TypeError(f"a column of type {kind}")

    return read


def _column_text(file: Any, name: str) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        return np.array(file.read(columns=[name])[name].to_pylist(), dtype=object)

    return read


def _column_vectors(path: Path, file: Any, name: str, dtype: np.dtype) -> Callable[[], np.ndarray]:
    """Lists of one length → (N, D), block by block; a row that is shorter or null is named."""

    def read() -> np.ndarray:
        out, done = np.empty((0, 0), dtype), 0
        for batch in file.iter_batches(batch_size=4096, columns=[name]):
            column = batch.column(0)
            lengths = column.value_lengths().to_numpy(zero_copy_only=False)
            if not done:
                width = int(lengths[0]) if lengths[0] == lengths[0] and lengths[0] else 0
                out = np.empty((file.metadata.num_rows, width), dtype)
            wrong = np.flatnonzero(~(lengths == width))
            if len(wrong):
                row = int(wrong[0])
                found = "null" if np.isnan(lengths[row]) else f"{int(lengths[row])} long"
                raise UserError(f"a vector is {found}, the first is {width} long",
                                where=f"{path}, {name}, row {done + row}", fix=REWRITE)  # fmt: skip
            flat = column.flatten()
            if flat.null_count:
                row = int(np.flatnonzero(flat.is_null().to_numpy(zero_copy_only=False))[0]) // width
                raise UserError("a vector holds a null", where=f"{path}, {name}, row {done + row}",
                                fix=REWRITE)  # fmt: skip
            out[done : done + len(column)] = flat.to_numpy().reshape(len(column), width)
            done += len(column)
        return out

    return read


READERS: Mapping[str, Callable[[Path], Any]] = {
    ".h5": _hdf5, ".hdf5": _hdf5, ".npz": _npz, ".parquet": _parquet,
}  # fmt: skip
