"""Pairs in one HDF5 file: arrays of images, ids, labels and splits under names of the user's."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from pydantic import Field

from crbench.cards import DatasetCard, LabelsCard, ModalityCard, Strict, parse
from crbench.data.cache.reading import HDF5_ERRORS, brief
from crbench.data.sources import Block, Source
from crbench.data.sources.raw import file_fingerprint, numbered, pairs_at_once
from crbench.data.sources.user import splits
from crbench.data.sources.user.label_files import class_number
from crbench.errors import UserError

_ENDINGS = (".h5", ".hdf5", ".mat")


class _Hdf5Table(Strict):
    """``[source]``: names of the arrays. ``ids`` and ``splits`` may be absent in the file: then ids
    are numbers of rows, and splits follow the rule of ``[source.split]``."""

    kind: str
    a: str = "a/images"
    b: str = "b/images"
    ids: str = "ids"
    labels: str = "labels"
    splits: str = "split"
    split: dict[str, Any] = Field(default_factory=dict)


def open_hdf5_pairs(card: DatasetCard, source_dir: Path | None) -> Source:
    """All rows of the file at ``source_dir``, or of the only HDF5 file in that folder.

    Images (N, C, H, W), (N, H, W, C) or, of one band, (N, H, W), in the card's dtype. Labels: class
    numbers or names (N,), or 0 and 1 for each class (N, C). Anything else is a UserError that says
    what was found.
    """
    table = parse(_Hdf5Table, card.source, where=f"{card.name}, [source]")
    path = find_file(card, source_dir)
    with opened_hdf5(path) as file:
        orders = {w: _order(file, getattr(table, w), card.modality(w), path) for w in ("a", "b")}
        arrays = {which: file[getattr(table, which)] for which in ("a", "b")}
        n = len(arrays["a"])
        if len(arrays["b"]) != n:
            raise UserError(f"{n} images of a, {len(arrays['b'])} of b", where=path)
        labels = _labels(file, table, card.labels, n, path)
        ids = _texts(file, table.ids, n, path)
        split = _texts(file, table.splits, n, path)
        rows = _rows_per_block(card, arrays)
        shapes = [f"{w} = {getattr(table, w)} {arrays[w].dtype} {arrays[w].shape}" for w in arrays]
    notes = [f"layout: {', '.join(shapes)}"]
    if ids is None:
        ids = numbered(card.name, n)
        notes.append(f"no '{table.ids}': ids are numbers of rows")
    if split is None:
        split, words = splits.draw(table.split, ids, labels, card.name)
        notes.append(f"no '{table.splits}': {words}")

    def read(start: int, stop: int) -> Block:
        with opened_hdf5(path) as file:
            a, b = (_images(file[getattr(table, w)], orders[w], start, stop) for w in ("a", "b"))
        return Block(a, b, None if labels is None else labels[start:stop])

    return Source(
        ids=ids,
        split=split,
        read=read,
        description=f"{n:,} pairs of {path.name}",
        fingerprint=f"hdf5 1 {file_fingerprint([path])}",
        rows_per_block=rows,
        notes=notes,
    )


def find_file(card: DatasetCard, source_dir: Path | None, name: str | None = None) -> Path:
    """The HDF5 file that --source is, or the one in it: called ``name``, else the only one."""
    if source_dir is not None and source_dir.is_file():
        return source_dir
    files: list[Path] = []
    if source_dir is not None and source_dir.is_dir():
        files = sorted(p for p in source_dir.iterdir() if p.suffix.lower() in _ENDINGS)
        if name is not None:
            files = [path for path in files if path.name == name]
    if len(files) == 1:
        return files[0]
    what = f"{len(files)} HDF5 files" if files else f"no {name or 'HDF5 file'}"
    raise UserError(
        f"where the data of {card.name} lie is not clear: {what}",
        where=source_dir,
        fix=f"get them ({card.where}), then --source FILE",
    )


@contextmanager
def opened_hdf5(path: Path) -> Iterator[h5py.File]:
    """The file for reading; what HDF5 raises on a damaged one becomes a UserError."""
    try:
        with h5py.File(path, "r") as file:
            yield file
    except UserError:
        raise
    except HDF5_ERRORS as error:
        with path.open("rb") as raw:
            head = raw.read(19)
        older = head.startswith(b"MATLAB 5.0")  # as v7 and older begin; v7.3 says "MATLAB 7.3"
        what = "a MATLAB file older than v7.3" if older else f"no sound HDF5 file ({brief(error)})"
        fix = "save it in MATLAB with '-v7.3'" if older else "get the file again"
        raise UserError(what, where=path, fix=fix) from error


def array_named(file: h5py.File, name: str, path: Path) -> h5py.Dataset:
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


def _order(file: h5py.File, name: str, modality: ModalityCard, path: Path) -> tuple[int, ...]:
    """Axes of the array in the order (N, C, H, W); −1 for a band axis that is not there."""
    array = array_named(file, name, path)
    bands, size = len(modality.bands), tuple(modality.size)
    orders = {(bands, *size): (0, 1, 2, 3), (*size, bands): (0, 3, 1, 2)}
    if bands == 1:
        orders[size] = (0, -1, 1, 2)
    order = orders.get(array.shape[1:])
    if order is None or array.dtype.newbyteorder("=") != np.dtype(modality.dtype):
        raise UserError(
            f"'{name}' is {array.dtype} {array.shape}, the card says {modality.name} is "
            f"{modality.dtype} (N, {bands}, {size[0]}, {size[1]})",
            where=path,
            fix="correct the card's bands, size or dtype, or name another array in [source]",
        )
    return order


def _images(array: h5py.Dataset, order: tuple[int, ...], start: int, stop: int) -> np.ndarray:
    """Rows ``start`` to ``stop``, (n, C, H, W), in the machine's byte order."""
    block = array[start:stop]
    block = block[:, None] if -1 in order else block.transpose(order)
    return np.ascontiguousarray(block, dtype=block.dtype.newbyteorder("="))


def _texts(file: h5py.File, name: str, n: int, path: Path) -> list[str] | None:
    """An array of texts or whole numbers as (N,) str; None where the file has none."""
    if name not in file:
        return None
    array = array_named(file, name, path)
    if array.size != n or array.ndim != 1:
        raise UserError(f"'{name}' is {array.dtype} {array.shape} for {n} pairs", where=path)
    if h5py.check_string_dtype(array.dtype) is not None:
        return [str(text) for text in array.asstr("utf-8")[...]]
    if array.dtype.kind in "iu":
        return [str(number) for number in array[...].tolist()]
    raise UserError(
        f"'{name}' is {array.dtype}, not text", where=path, fix="store texts or numbers"
    )


def _labels(
    file: h5py.File, table: _Hdf5Table, card: LabelsCard, n: int, path: Path
) -> np.ndarray | None:
    """(N,) int64 classes or (N, C) uint8 multi-hot, as the card's kind of labels asks for."""
    if card.kind == "none":
        return None
    array, top = array_named(file, table.labels, path), len(card.classes)
    where = f"{path}, {table.labels}"
    if card.kind == "single" and array.shape == (n,):
        names = _texts(file, table.labels, n, path)
        assert names is not None
        numbers = {name: class_number(name, card.classes, where) for name in set(names)}
        return np.array([numbers[name] for name in names], dtype=np.int64)
    hot = np.asarray(array[...]) if array.shape == (n, top) and array.dtype.kind in "biuf" else None
    if hot is None or not np.isin(hot, (0, 1)).all():
        expected = f"({n},)" if card.kind == "single" else f"0 and 1, ({n}, {top})"
        raise UserError(
            f"'{table.labels}' is {array.dtype} {array.shape}, expected {expected}",
            where=path,
            fix="correct labels.kind or labels.classes in the card, or the array",
        )
    if card.kind == "multi":
        return hot.astype(np.uint8)
    if (bad := np.flatnonzero(hot.sum(1) != 1)).size:
        raise UserError(f"row {bad[0]} has {hot[bad[0]].sum():g} classes, not one", where=where)
    return hot.argmax(1).astype(np.int64)


def _rows_per_block(card: DatasetCard, arrays: dict[str, h5py.Dataset]) -> int:
    """Pairs whose pixels take at most 32 MiB, in whole chunks where these are smaller."""
    most = pairs_at_once(card)
    for array in arrays.values():
        if array.chunks and array.chunks[0] <= most:
            most = most // array.chunks[0] * array.chunks[0]
    return most
