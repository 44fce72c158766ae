"""Arrays of anyone, held against the dataset that they are said to be of, before and after reading.

Every refusal names the array and, where there is one, the row.
"""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np

from crbench.embedding.formats import REWRITE, Served, VectorFile, parse_serves, wrong
from crbench.errors import UserError, nearest
from crbench.scoring.protocol import check_distinct
from crbench.scoring.tiles import first_bad_row
from crbench.words import DIRECTIONS, ROLES

_MAX_WIDTH = 65_536  # dimensions of an embedding; also bounds what one row may take
_MAX_ID_LENGTH = 4096
_NAMED = ("a", "b", *(f"{d}/{role}" for d in DIRECTIONS for role in ROLES))
_SHOWN = 5  # ids listed in a message
_ROWS = 8192


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
