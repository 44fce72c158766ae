"""DSRSID: one MATLAB v7.3 file, that is HDF5, read in blocks of rows and never held.

``PAN_IMAGES`` (80000, 1, 256, 256), ``MUL_IMAGES`` (80000, 4, 64, 64), ``LAND_COVER_TYPES``
(1, 80000) with values from 1 on. MATLAB reverses axes, so that samples may also come last.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations, product
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from pydantic import Field

from crbench.cards import DatasetCard, ModalityCard, Strict, parse
from crbench.data.cache.reading import class_counts
from crbench.data.sources import Block, Source
from crbench.data.sources.raw import (
    bytes_of_pair,
    counted,
    file_fingerprint,
    numbered,
)
from crbench.data.sources.user import splits
from crbench.data.sources.user.hdf5 import array_named, find_file, opened_hdf5
from crbench.errors import UserError

_NAMES = {"a": "PAN_IMAGES", "b": "MUL_IMAGES", "labels": "LAND_COVER_TYPES"}
_BLOCK_BYTES = 192 * 2**20  # of pixels read at once, 500 MiB with what turning their axes takes
_LOOK = 32  # samples that tell which axes are spatial, where sizes do not
_Axes = tuple[int, int, int, int]  # where samples, channels, rows and columns lie in the file
_USUAL = ((0, 1, 2, 3), (3, 2, 1, 0))


class _DsrsidTable(Strict):
    """``[source]``: the file's usual name, and the rule of its splits."""

    kind: str
    file: str = "DSRSID.mat"
    split: dict[str, Any] = Field(default_factory=dict)


def open_dsrsid(card: DatasetCard, source_dir: Path | None) -> Source:
    """All pairs in the file's order, ids ``dsrsid-00000`` on; labels count from 0.

    ``source_dir`` is the file, or its folder. Other names, shapes, types or labels are a UserError
    that says what was found.
    """
    table = parse(_DsrsidTable, card.source, where=f"{card.name}, [source]")
    path = find_file(card, source_dir, table.file)
    with opened_hdf5(path) as file:
        labels = _labels(file, card, path)
        n = len(labels)
        axes = _both_axes(file, card, n, path)
        rows = _rows_per_block(file, card, axes)
    ids = numbered("dsrsid", n, digits=5)
    split, words = splits.draw(table.split, ids, labels, card.name)

    def read(start: int, stop: int) -> Block:
        with opened_hdf5(path) as file:
            a, b = (_rows(file[_NAMES[w]], axes[w], start, stop) for w in ("a", "b"))
        return Block(a, b, labels[start:stop])

    held = rows * bytes_of_pair(card) / 2**20
    return Source(
        ids=ids,
        split=split,
        read=read,
        description=f"{n:,} pairs of {path.name}",
        fingerprint=f"dsrsid 1 {file_fingerprint([path])}",
        rows_per_block=rows,
        notes=[
            f"layout: {', '.join(f'{_NAMES[w]} {_order(axes[w])}' for w in ('a', 'b'))}; read "
            f"{rows:,} pairs at once, {held:,.0f} MiB of pixels",
            f"classes: {counted(class_counts(card, labels))}",
            words,
        ],
    )


def _labels(file: h5py.File, card: DatasetCard, path: Path) -> np.ndarray:
    """(N,) int64 from 0 on, from a row, a column or a plain list of numbers from 1 on."""
    array, top = array_named(file, _NAMES["labels"], path), len(card.labels.classes)
    flat = array.dtype.kind in "iuf" and array.size == max(array.shape, default=0) > 0
    values = np.asarray(array[...]).reshape(-1) if flat else np.zeros(1)
    if not flat or not np.isin(values, np.arange(1, top + 1)).all():
        have = f"{array.dtype} {array.shape}"
        if flat:
            have += f" from {values.min():g} to {values.max():g}"
        raise UserError(
            f"'{_NAMES['labels']}' is {have}, expected one whole number of 1 to {top} a pair",
            where=path,
            fix="take the file as its authors give it",
        )
    return values.astype(np.int64) - 1


def _both_axes(file: h5py.File, card: DatasetCard, n: int, path: Path) -> dict[str, _Axes]:
    """Where samples, channels, rows and columns of both arrays lie.

    By the sizes; where several orders fit these, the usual ones before others, the same for both
    arrays, and then by content: along rows and columns neighbouring pixels are alike, along samples
    and channels they are not.
    """
    arrays = {which: array_named(file, _NAMES[which], path) for which in ("a", "b")}
    fits = {w: _fitting(arrays[w], _NAMES[w], card.modality(w), n, path) for w in arrays}
    pairs = list(product(fits["a"], fits["b"]))
    alike = [pair for pair in pairs if (pair[0][0] == 0) == (pair[1][0] == 0)]
    pairs = alike or pairs
    if len(pairs) > 1:
        rough = {which: _roughness(array) for which, array in arrays.items()}
        pairs.sort(
            key=lambda pair: sum(
                rough[which][k] for which, axes in zip("ab", pair, strict=True) for k in axes[2:]
            )
        )
    return dict(zip("ab", pairs[0], strict=True))


def _fitting(
    array: h5py.Dataset, name: str, modality: ModalityCard, n: int, path: Path
) -> list[_Axes]:
    """Orders of axes that fit an array's sizes: the two usual ones if any does, else others.

    Samples before the image: rows before columns, as they lie. Samples behind the image: everything
    is reversed, columns before rows.
    """
    sizes = (n, len(modality.bands), *modality.size)
    fits: list[_Axes] = []
    if array.ndim == 4 and array.dtype == np.dtype(modality.dtype):
        for axes in permutations((0, 1, 2, 3)):
            forwards = axes[0] < axes[2] < axes[3]
            backwards = axes[0] > axes[2] > axes[3]
            if tuple(array.shape[k] for k in axes) == sizes and (forwards or backwards):
                fits.append((axes[0], axes[1], axes[2], axes[3]))
    if not fits:
        raise UserError(
            f"'{name}' is {array.dtype} {array.shape}, expected {modality.dtype} {sizes} or "
            "reversed",
            where=path,
            fix="take the file as its authors give it, or correct the card's size, bands or dtype",
        )
    return [axes for axes in fits if axes in _USUAL] or fits


def _roughness(array: h5py.Dataset) -> list[float]:
    """Mean difference of neighbours along each axis, over a corner of the array."""
    part = np.asarray(array[tuple(slice(min(side, _LOOK)) for side in array.shape)], np.float64)
    return [
        float(np.abs(np.diff(part, axis=k)).mean()) if part.shape[k] > 1 else np.inf
        for k in range(4)
    ]


def _order(axes: _Axes) -> str:
    letters = dict(zip(axes, "NCHW", strict=True))
    return "(" + ", ".join(letters[k] for k in range(4)) + ")"


def _rows_per_block(file: h5py.File, card: DatasetCard, axes: Mapping[str, _Axes]) -> int:
    """Pairs per block, within ``_BLOCK_BYTES``.

    Rows that lie together are read in short blocks; where samples come last, every block touches
    the whole length of the file, so that it is as large as memory allows. Chunks are read whole.
    """
    most = max(1, _BLOCK_BYTES // bytes_of_pair(card))
    arrays = {which: file[_NAMES[which]] for which in ("a", "b")}
    rows = most if any(axes[which][0] != 0 for which in ("a", "b")) else min(most, 256)
    for which, array in arrays.items():
        along = array.chunks[axes[which][0]] if array.chunks else 1
        rows = max(along, rows // along * along) if along <= most else rows
    return min(rows, most)


def _rows(array: h5py.Dataset, axes: _Axes, start: int, stop: int) -> np.ndarray:
    """Samples ``start`` to ``stop``, (n, C, H, W)."""
    where = [slice(None)] * 4
    where[axes[0]] = slice(start, stop)
    return np.ascontiguousarray(array[tuple(where)].transpose(axes))
