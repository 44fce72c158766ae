"""Pairs in one HDF5 file: arrays of images, ids, labels and splits under names of the user's.

DSRSID is such a file: MATLAB's format v7.3 is HDF5. It is read in blocks of rows and never held.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from pydantic import Field

from crbench.cards import DatasetCard, LabelsCard, Strict, parse
from crbench.data.cache.reading import HDF5_ERRORS, class_counts
from crbench.data.sources import Block, Source
from crbench.data.sources.raw import (
    bytes_of_pair,
    counted,
    damage_named,
    file_fingerprint,
    named_source,
    numbered,
    pairs_at_once,
)
from crbench.data.sources.user import splits
from crbench.data.sources.user.axes import Axes, axes_in_words, axes_of_pairs, read_rows
from crbench.data.sources.user.label_files import class_array, class_number
from crbench.errors import UserError
from crbench.words import MODALITIES

_ENDINGS = (".h5", ".hdf5", ".mat")
_BLOCK_BYTES = 192 * 2**20  # of pixels read at once, 500 MiB with what turning their axes takes
_DSRSID = {
    "a": "PAN_IMAGES",
    "b": "MUL_IMAGES",
    "labels": "LAND_COVER_TYPES",
    "first_class": 1,
}


class _Hdf5Table(Strict):
    """``[source]``: names of the arrays. ``ids`` and ``splits`` may be absent in the file: then ids
    are numbers of rows, and splits follow the rule of ``[source.split]``.

    ``file``: its name, where --source is a folder with others. ``first_class``: the number of the
    first class, where ``labels`` has numbers.
    """

    kind: str
    file: str = ""
    a: str = "a/images"
    b: str = "b/images"
    ids: str = "ids"
    labels: str = "labels"
    first_class: int = 0
    splits: str = "split"
    split: dict[str, Any] = Field(default_factory=dict)


def open_hdf5_pairs(card: DatasetCard, source_dir: Path | None) -> Source:
    """All rows of the file at ``source_dir``, or of the only HDF5 file in that folder.

    Images (N, C, H, W), (N, H, W, C), these reversed, or, of one band, (N, H, W), in the card's
    dtype. Labels: class numbers or names (N,), or 0 and 1 for each class (N, C). Anything else is
    a UserError that says what is there.
    """
    dsrsid = card.source["kind"] == "dsrsid"
    keys = {**(_DSRSID if dsrsid else {}), **card.source}
    table = parse(_Hdf5Table, keys, where=f"{card.name}, [source]")
    path = _find_file(card, source_dir, table.file)
    names = {"a": table.a, "b": table.b}
    with _opened_hdf5(path) as file:
        arrays = {which: _array_named(file, names[which], path) for which in names}
        axes = axes_of_pairs(arrays, card, path)
        n, other = (arrays[which].shape[axes[which][0]] for which in MODALITIES)
        if other != n:
            raise UserError(f"{n} images of a, {other} of b", where=path)
        labels = _labels(file, table, card.labels, n, path)
        ids = _texts(file, table.ids, n, path)
        split = _texts(file, table.splits, n, path)
        rows = _rows_per_block(card, arrays, axes)
    notes = [
        f"layout: {', '.join(f'{names[w]} {axes_in_words(axes[w])}' for w in MODALITIES)}; read in "
        f"blocks of {rows:,} pairs"
    ]
    if labels is not None:
        notes.append(f"classes: {counted(class_counts(card, labels))}")
    if ids is None:
        ids = numbered("dsrsid", n, digits=5) if dsrsid else numbered(card.name, n)
        notes.append(f"no '{table.ids}': ids are numbers of rows")
    if split is None:
        split, words = splits.draw(table.split, ids, labels, card.name)
        notes.append(f"no '{table.splits}': {words}")

    def read(start: int, stop: int) -> Block:
        with _opened_hdf5(path) as file:
            a, b = (read_rows(file[names[w]], axes[w], start, stop) for w in MODALITIES)
        return Block(a, b, None if labels is None else labels[start:stop])

    return Source(
        ids=ids,
        split=split,
        read=read,
        description=f"{n:,} pairs of {path.name}",
        fingerprint=f"{'dsrsid' if dsrsid else 'hdf5'} 1 {file_fingerprint([path])}",
        rows_per_block=rows,
        notes=notes,
    )


def _find_file(card: DatasetCard, source_dir: Path | None, name: str) -> Path:
    """The HDF5 file that --source is, or the one in it: called ``name``, else the only one."""
    path = named_source(card, source_dir)
    if path.is_file():
        return path
    files = [file for file in sorted(path.iterdir()) if file.suffix.lower() in _ENDINGS]
    files = [file for file in files if name in ("", file.name)]
    if len(files) != 1:
        what = f"{len(files)} HDF5 files are here" if files else f"no {name or 'HDF5 file'} is here"
        raise UserError(what, where=path, fix="name the file itself: --source FILE")
    return files[0]


@contextmanager
def _opened_hdf5(path: Path) -> Iterator[h5py.File]:
    """The file for reading; what HDF5 raises on a damaged one becomes a UserError."""
    with damage_named("no sound HDF5 file", path, *HDF5_ERRORS):
        with path.open("rb") as raw:
            if raw.read(10) == b"MATLAB 5.0":  # as v7 and older begin; v7.3 says "MATLAB 7.3"
                raise UserError(
                    "a MATLAB file older than v7.3", where=path, fix="save it with '-v7.3'"
                )
        with h5py.File(path, "r") as file:
            yield file


def _array_named(file: h5py.File, name: str, path: Path) -> h5py.Dataset:
    """The array called ``name``; where there is none, a UserError lists those that are there."""
    array = file.get(name)
    if isinstance(array, h5py.Dataset):
        if array.is_virtual or array.external or array.file.filename != file.filename:
            raise UserError(
                f"the values of '{name}' lie in another file, which would go unchecked",
                where=path,
                fix="store the array itself",
            )
        return array
    inside: list[str] = []

    def note(key: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and not key.startswith("#"):
            inside.append(f"{key} {item.dtype} {item.shape}")

    file.visititems(note)
    raise UserError(
        f"no array '{name}'; there are: {', '.join(inside[:12]) or 'none'}",
        where=path,
        fix="take the file as its authors give it, or name its arrays in the card's [source]",
    )


def _texts(file: h5py.File, name: str, n: int, path: Path) -> list[str] | None:
    """An array of texts or whole numbers as (N,) str; None where the file has none."""
    if name not in file:
        return None
    array = _array_named(file, name, path)
    text = h5py.check_string_dtype(array.dtype) is not None
    if array.shape != (n,) or not (text or array.dtype.kind in "iu"):
        raise UserError(
            f"'{name}' is {array.dtype} {array.shape}, expected {n} texts or whole numbers",
            where=path,
            fix="correct the array, or name another one in the card's [source]",
        )
    return list(map(str, (array.asstr("utf-8") if text else array)[...]))


def _labels(
    file: h5py.File, table: _Hdf5Table, card: LabelsCard, n: int, path: Path
) -> np.ndarray | None:
    """(N,) int64 classes or (N, C) uint8 multi-hot, as the card's kind of labels asks for."""
    if card.kind == "none":
        return None
    array = _array_named(file, table.labels, path)
    where = f"{path}, {table.labels}"
    if card.kind == "single" and h5py.check_string_dtype(array.dtype) is not None:
        names = _texts(file, table.labels, n, path) or []
        numbers = {name: class_number(name, card.classes, where) for name in set(names)}
        return np.array([numbers[name] for name in names], dtype=np.int64)
    top = len(card.classes)
    if array.size > n * max(1, top):  # not read: it may be images, or declare what nobody has
        raise UserError(
            f"labels: {array.dtype} {array.shape}; expected {n} of them, or {(n, top)}",
            where=where,
            fix="correct [source] labels, labels.kind or labels.classes in the card",
        )
    values = array[...]
    if card.kind == "single" and array.size == n:  # a row or a column, as MATLAB has lists
        values = values.reshape(-1)
    return class_array(values, n, card, what="labels", where=where, first=table.first_class)


def _rows_per_block(
    card: DatasetCard, arrays: Mapping[str, h5py.Dataset], axes: Mapping[str, Axes]
) -> int:
    """Pairs per block, in whole chunks where these are smaller.

    Rows that lie together are read in short blocks; where samples come last, every block touches
    the whole length of the file, so that it is as large as memory allows.
    """
    together = all(order[0] == 0 for order in axes.values())
    rows = pairs_at_once(card) if together else max(1, _BLOCK_BYTES // bytes_of_pair(card))
    for which, array in arrays.items():
        along = array.chunks[axes[which][0]] if array.chunks else 1
        rows = rows // along * along or rows
    return rows
