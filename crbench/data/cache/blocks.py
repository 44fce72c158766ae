"""Blocks of rows between a source and its place in a cache file: checked, written, read back."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from crbench.cards import DatasetCard
from crbench.data.cache.reading import Span, array_table
from crbench.data.sources import Block, Source
from crbench.errors import UserError

_NAMES = ("a", "b", "labels")


def checked_arrays(
    block: Block, card: DatasetCard, source: Source, start: int, stop: int
) -> dict[str, np.ndarray]:
    """The arrays of a block as they will lie in the file; bad pixels are named by their id."""
    arrays = {}
    for name, (shape, dtype) in array_table(card, stop - start).items():
        array = getattr(block, name)
        if array is None or array.shape != shape or array.dtype.newbyteorder("<") != dtype:
            have = "nothing" if array is None else f"{array.dtype} {array.shape}"
            raise UserError(
                f"{name} of rows {start} to {stop - 1} is {have}, the card says {dtype} {shape}",
                where=source.description,
                fix="correct the card's size, bands or dtype",
            )
        if dtype.kind == "f" and not (fine := np.isfinite(array).all(axis=(1, 2, 3))).all():
            row = start + int(np.flatnonzero(~fine)[0])
            raise UserError(
                f"{name} of '{source.ids[row]}' has pixels that are NaN or infinite",
                where=source.description,
                fix="mend or leave out this pair",
            )
        arrays[name] = np.ascontiguousarray(array, dtype=dtype)
    return arrays


def _span(spans: dict[str, Span], name: str, start: int, stop: int) -> tuple[int, int]:
    """Offset and length in bytes of rows start…stop of an array."""
    offset, dtype, shape = spans[name]
    row = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
    return offset + start * row, (stop - start) * row


def write_block(
    handle: Any, spans: dict[str, Span], arrays: dict[str, np.ndarray], start: int
) -> str:
    """Write a block at its offset; SHA-256 of what was written."""
    digest = hashlib.sha256()
    for name in _NAMES:
        if name in arrays:
            raw = arrays[name].reshape(-1).view(np.uint8).data
            digest.update(raw)
            handle.seek(_span(spans, name, start, start + 1)[0])
            handle.write(raw)
    handle.flush()
    return digest.hexdigest()


def on_disk(handle: Any, spans: dict[str, Span], start: int, stop: int) -> str:
    """SHA-256 of a block as it lies in the file now."""
    digest = hashlib.sha256()
    for name in _NAMES:
        if name in spans:
            offset, length = _span(spans, name, start, stop)
            handle.seek(offset)
            digest.update(handle.read(length))
    return digest.hexdigest()
