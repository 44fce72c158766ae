"""Arrays out of .npz and .parquet files, declared before they are read; see vector_files."""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from crbench.embedding.vector_files import BROKEN, REWRITE, Declared, VectorFile, damaged
from crbench.errors import UserError, needs


@contextlib.contextmanager
def open_npz(path: Path) -> Iterator[VectorFile]:
    """The .npy arrays of an archive of NumPy."""
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


@contextlib.contextmanager
def open_parquet(path: Path) -> Iterator[VectorFile]:
    """The columns of a Parquet file: text, and lists of numbers."""
    with needs("parquet", "reading .parquet", where=path, otherwise=", or write .npz"):
        import pyarrow as pa
        import pyarrow.parquet as pq
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
                actual = "null" if np.isnan(lengths[row]) else f"{int(lengths[row])} long"
                raise UserError(f"a vector is {actual}, the first is {width} long",
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
