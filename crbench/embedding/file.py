"""Embeddings of any program, matched to a dataset by id: what may be scored, checked row by row.

A file holds ``ids`` (N,) and vectors (N, D) whose rows follow them. Its names are

- ``a``, ``b``: one array per modality, for all directions;
- ``ab/query``, ``ab/gallery`` (likewise ``aa``, ``bb``, ``ba``): what serves one role in one
  direction, in place of the modality's array;
- ``a/<view>``, ``b/<view>``, as ``crbench embed`` writes them, with the attribute ``serves``
  that says which view serves what.

A direction is scored where both of its sides are there. See docs/embeddings.md.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from crbench.embedding.vector_files import (
    MAX_ID_BYTES,
    MAX_WIDTH,
    REWRITE,
    VectorFile,
    damaged,
    open_vectors,
)
from crbench.errors import UserError, nearest
from crbench.words import DIRECTIONS, ROLES

NAMED = ("a", "b", *(f"{d}/{role}" for d in DIRECTIONS for role in ROLES))
SHOWN = 5  # ids listed in a message
_ROWS = 8192

Served = dict[str, tuple[str, str]]


@dataclass(frozen=True)
class Embeddings:
    """Checked embeddings: ``ids`` (N,) str, ``arrays`` name → (N, D) floating, finite, no row zero.

    ``serves``: direction → names of the arrays of its queries and of its gallery. ``about``: what
    the file says of itself, empty unless crbench wrote it.
    """

    path: Path
    ids: np.ndarray
    arrays: dict[str, np.ndarray]
    serves: Served
    about: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    device: str = ""

    def pairs(
        self, query_ids: np.ndarray, gallery_ids: np.ndarray
    ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """``{direction: (query (Nq, D), gallery (Ng, D))}`` in the order of the given ids."""
        rows = {"query": self.rows(query_ids), "gallery": self.rows(gallery_ids)}
        if np.array_equal(rows["query"], rows["gallery"]):
            rows["gallery"] = rows["query"]
        taken: dict[tuple[str, int], np.ndarray] = {}

        def take(name: str, role: str) -> np.ndarray:
            key = (name, id(rows[role]))
            if key not in taken:
                taken[key] = self.arrays[name][rows[role]]
            return taken[key]

        return {d: (take(q, "query"), take(g, "gallery")) for d, (q, g) in self.serves.items()}

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """Row of each id, (n,) int64; ids that are not there are a UserError that counts them."""
        place = {str(name): row for row, name in enumerate(self.ids)}
        missing = [str(name) for name in ids if str(name) not in place]
        if missing:
            raise UserError(
                f"{len(missing)} of the {len(ids)} items to score have no embedding, e.g. "
                + ", ".join(missing[:SHOWN]),
                where=f"{self.path}, ids",
                fix="embed every item of the protocol's splits",
            )
        return np.array([place[str(name)] for name in ids], dtype=np.int64)


def read_embeddings(path: str | os.PathLike[str], known: np.ndarray) -> Embeddings:
    """Read a file of embeddings of a dataset whose ids are ``known`` (M,).

    Every row is checked, also of items that no protocol scores. Raises UserError naming array and
    row: ids that the dataset does not have or that repeat, arrays of another shape or type, vectors
    that are not finite or zero, and files that are damaged or would lead elsewhere.
    """
    path = Path(path)
    with open_vectors(path) as file:
        ids = _ids(file, known)
        serves = _serves(file)
        used = list(dict.fromkeys(name for pair in serves.values() for name in pair))
        _check_shapes(file, used, len(ids))
        _check_memory(file, used)
        arrays = {name: _vectors(file, name, ids) for name in used}
        _check_widths(path, arrays, serves)
        seconds, device = (file.attributes.get(key) for key in ("seconds", "device"))
        return Embeddings(
            path, ids, arrays, serves, _json(file, "about"), float(seconds or 0), str(device or "")
        )


def _ids(file: VectorFile, known: np.ndarray) -> np.ndarray:
    name = file.id_name
    if name not in file.arrays:
        raise UserError(f"there is no array '{name}'", where=file.path, fix=_near(file, name))
    declared, where = file.arrays[name], file.at(name)
    if len(declared.shape) != 1:
        raise UserError(f"'{name}' has shape {declared.shape}, not (N,)", where=where, fix=REWRITE)
    if declared.variable:
        raise UserError(
            f"'{name}' is text of variable length, which HDF5 does not read safely where a file "
            "is damaged",
            where=where,
            fix='store text of fixed length: ids.astype("S"), or np.char.encode(ids) beyond ASCII',
        )
    if declared.dtype is not None and declared.dtype.kind not in "SU":
        raise UserError(
            f"'{name}' holds {_kind(declared.dtype)}, not text",
            where=where,
            fix="store the ids as text, as `crbench cache` keeps them",
        )
    if declared.dtype is not None and declared.dtype.itemsize > 4 * MAX_ID_BYTES:
        raise UserError("an id may have 4,096 characters at most", where=where, fix=REWRITE)
    if declared.shape[0] == 0:
        raise UserError(f"'{name}' is empty", where=where, fix=REWRITE)
    if declared.shape[0] > 2 * len(known) + 1000:
        raise UserError(
            f"{declared.shape[0]:,} ids, and the dataset has {len(known):,} items", where=where,
            fix="leave out what is not of this dataset, or name the right --dataset",
        )  # fmt: skip
    ids = np.array([_text(file, row, value) for row, value in enumerate(file.array(name))])
    _check_ids(file, ids, known)
    return ids


def _text(file: VectorFile, row: int, value: Any) -> str:
    try:
        text = value.decode("utf-8") if isinstance(value, bytes) else value
    except UnicodeDecodeError:
        text = None
    if not isinstance(text, str) or not text or len(text) > MAX_ID_BYTES:
        raise UserError("an id is no text (empty, null, too long or not UTF-8)",
                        where=file.at(file.id_name, row), fix=REWRITE)  # fmt: skip
    return text


def _check_ids(file: VectorFile, ids: np.ndarray, known: np.ndarray) -> None:
    order = np.argsort(ids, kind="stable")
    repeats = np.flatnonzero(ids[order][1:] == ids[order][:-1])
    if len(repeats):
        first, second = sorted((int(order[repeats[0]]), int(order[repeats[0] + 1])))
        raise UserError(
            f"id '{ids[first]}' repeats ({len(repeats)} repeated in all)",
            where=f"{file.path}, {file.id_name}, rows {first} and {second}",
            fix="write one row per item",
        )
    foreign = np.flatnonzero(~np.isin(ids, known))
    if len(foreign):
        listed = ", ".join(str(ids[row]) for row in foreign[:SHOWN])
        raise UserError(
            f"{len(foreign)} of {len(ids)} ids are not in the dataset, e.g. {listed} "
            f"(its ids look like {known[0]})",
            where=file.at(file.id_name, int(foreign[0])),
            fix="take the ids of the dataset's cache, or name the right --dataset",
        )


def _serves(file: VectorFile) -> Served:
    """Which arrays serve which direction, by the file's own statement or by their names."""
    vectors = [name for name in file.arrays if name not in (file.id_name, "split")]
    if stated := _json(file, "serves"):
        return _stated(file, stated)
    if unknown := [name for name in vectors if name not in NAMED]:
        raise UserError(
            f"unknown array '{unknown[0]}'",
            where=file.path,
            fix=f"arrays are {file.id_name}, a, b and aa/query … ba/gallery; {REWRITE}",
        )
    serves: Served = {}
    for d in DIRECTIONS:
        sides = [
            next((name for name in (f"{d}/{role}", which) if name in vectors), None)
            for role, which in zip(ROLES, d, strict=True)
        ]
        if sides[0] and sides[1]:
            serves[d] = (sides[0], sides[1])
        elif lone := [f"{d}/{role}" for role in ROLES if f"{d}/{role}" in vectors]:
            raise UserError(f"'{lone[0]}' has no other side", where=file.at(lone[0]),
                            fix=f"store both sides of {d}, or a and b")  # fmt: skip
    if not serves:
        raise UserError("there is no array of embeddings", where=file.path, fix=_near(file, "a"))
    return serves


def _stated(file: VectorFile, stated: dict[str, Any]) -> Served:
    serves: Served = {}
    for d in DIRECTIONS:
        if d in stated:
            views = stated[d]
            names = tuple(f"{m}/{views[role]}" for m, role in zip(d, ROLES, strict=True))
            if missing := [name for name in names if name not in file.arrays]:
                raise UserError(f"there is no array '{missing[0]}'", where=file.path, fix=REWRITE)
            serves[d] = (names[0], names[1])
    return serves


def _json(file: VectorFile, key: str) -> dict[str, Any]:
    text = file.attributes.get(key)
    try:
        value = json.loads(text) if isinstance(text, str) else {}
    except json.JSONDecodeError as error:
        raise damaged(file.at(f"attribute {key}"), error) from error
    if key == "serves" and not all(
        d in DIRECTIONS and isinstance(v, dict) and set(v) == set(ROLES) for d, v in value.items()
    ):
        raise UserError("'serves' does not say which view serves what", where=file.path)
    return dict(value)


def _near(file: VectorFile, name: str) -> str:
    close = nearest(name, file.arrays)
    listed = ", ".join(file.arrays) or "none"
    return (f"rename '{close}' to '{name}'" if close else REWRITE) + f" (arrays: {listed})"


def _check_shapes(file: VectorFile, names: list[str], n: int) -> None:
    for name in names:
        declared, where = file.arrays[name], file.at(name)
        if declared.dtype is None or declared.dtype.kind != "f" or declared.dtype.itemsize > 8:
            kind = "text" if declared.dtype is None else _kind(declared.dtype)
            raise UserError(f"'{name}' holds {kind}, not float16, float32 or float64", where=where,
                            fix=REWRITE)  # fmt: skip
        if len(declared.shape) != 2 or not 0 < declared.shape[1] <= MAX_WIDTH:
            raise UserError(
                f"'{name}' has shape {declared.shape}, not (N, D) with D from 1 to {MAX_WIDTH:,}",
                where=where,
                fix=REWRITE,
            )
        if declared.shape[0] != n:
            raise UserError(f"'{name}' has {declared.shape[0]:,} rows for {n:,} ids", where=where,
                            fix="write one row per id, in their order")  # fmt: skip


def _check_widths(path: Path, arrays: dict[str, np.ndarray], serves: Served) -> None:
    for d, (query, gallery) in serves.items():
        widths = [arrays[name].shape[1] for name in (query, gallery)]
        if widths[0] != widths[1]:
            raise UserError(
                f"'{query}' has {widths[0]} dimensions and '{gallery}' {widths[1]}, "
                f"so direction {d} has no inner product",
                where=path,
                fix=f"give {d}/query and {d}/gallery of one width, or a and b",
            )


def _check_memory(file: VectorFile, names: list[str]) -> None:
    declared = [file.arrays[name] for name in names]
    need = sum(d.shape[0] * d.shape[1] * d.dtype.itemsize for d in declared if d.dtype)
    have = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if need > have // 2:
        raise UserError(
            f"the arrays declare {need / 2**30:,.0f} GiB, this machine has {have / 2**30:,.0f}",
            where=file.at(max(names, key=lambda name: file.arrays[name].shape[1])),
            fix="store float32, or fewer arrays in one file",
        )  # fmt: skip


def _vectors(file: VectorFile, name: str, ids: np.ndarray) -> np.ndarray:
    array = file.array(name)
    if array.shape != file.arrays[name].shape:
        raise UserError(f"'{name}' has shape {array.shape}, its header says otherwise",
                        where=file.at(name), fix=REWRITE)  # fmt: skip
    for start in range(0, len(array), _ROWS):
        block = array[start : start + _ROWS]
        largest = np.abs(block).max(axis=1)
        bad = np.flatnonzero(~np.isfinite(largest) | (largest == 0))
        if len(bad):
            row = start + int(bad[0])
            value = largest[bad[0]]
            what = "NaN" if np.isnan(value) else "an infinite value" if value else "zeros alone"
            raise UserError(f"the vector of id '{ids[row]}' holds {what}", where=file.at(name, row),
                            fix="embed this item again")  # fmt: skip
    return np.asarray(array, dtype=array.dtype.newbyteorder("="))


def _kind(dtype: np.dtype) -> str:
    return "Python objects (a pickle, which is never loaded)" if dtype.hasobject else str(dtype)
