"""Arrays of NumPy's archives and Parquet files, declared before they are read.

See :mod:`crbench.embedding.vector_files` for what is done with them.
"""

from __future__ import annotations

import contextlib
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from crbench.embedding.vector_files import (
    BROKEN,
    Declared,
    Reader,
    VectorFile,
    damaged,
    open_hdf5,
    wrong,
)
from crbench.errors import needs

_HEADERS = {
    (1, 0): np.lib.format.read_array_header_1_0,
    (2, 0): np.lib.format.read_array_header_2_0,
}


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


READERS: dict[str, Reader] = {  # all that embeddings are read from, by the file's ending
    ".h5": open_hdf5,
    ".hdf5": open_hdf5,
    ".npz": _open_npz,
    ".parquet": _open_parquet,
}
