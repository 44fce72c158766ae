"""The file of embeddings: the one place where it is read and written.

Embeddings of any program are matched to a dataset by id, and checked row by row.

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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from crbench.data.cache.reading import decode, encode
from crbench.embedding.other_formats import READERS
from crbench.embedding.vector_files import (
    BROKEN,
    Served,
    checked_vectors,
    damaged,
    open_vectors,
    parse_serves,
)
from crbench.errors import UserError
from crbench.files import atomic_path, sha256_json
from crbench.records import Direction, Serves
from crbench.scoring.protocol import positions_of
from crbench.words import MODALITIES

_FORMAT = 2
_SHOWN = 5  # ids listed in a message


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
        rows = {"query": self._rows(query_ids), "gallery": self._rows(gallery_ids)}
        if np.array_equal(query_ids, gallery_ids):  # one array, normalised once
            rows["gallery"] = rows["query"]
        taken: dict[tuple[str, int], np.ndarray] = {}

        def take(name: str, role: str) -> np.ndarray:
            key = (name, id(rows[role]))
            if key not in taken:
                taken[key] = self.arrays[name][rows[role]]
            return taken[key]

        return {d: (take(q, "query"), take(g, "gallery")) for d, (q, g) in self.serves.items()}

    def of(self, name: str, ids: np.ndarray) -> np.ndarray:
        """Vectors (n, D) of the array ``name``, e.g. ``a/uni``, in the order of ``ids``."""
        return self.arrays[name][self._rows(ids)]

    def _rows(self, ids: np.ndarray) -> np.ndarray:
        """Row of each id, (n,) int64; ids that are not there are a UserError that counts them."""
        rows = positions_of(ids, self.ids)
        missing = [str(name) for name in ids[rows < 0]]
        if missing:
            raise UserError(
                f"{len(missing)} of the {len(ids)} items to score have no embedding, e.g. "
                + ", ".join(missing[:_SHOWN]),
                where=f"{self.path}, ids",
                fix="embed every item of the protocol's splits",
            )
        return rows


@dataclass(frozen=True)
class StoredEmbeddings:
    """A file that crbench wrote, of which few vectors are wanted: nothing is read but these."""

    path: Path

    @cached_property
    def serves(self) -> Served:
        """Direction → names of the arrays of its queries and of its gallery."""
        try:
            with h5py.File(self.path, "r") as file:
                return parse_serves(bytes(file.attrs["serves"]))
        except BROKEN as error:
            raise damaged(self.path, error) from error

    def vector(self, name: str, item: str) -> np.ndarray | None:
        """The vector (D,) of the item with this id, None where the file does not hold it."""
        try:
            if item not in self._rows:
                return None
            with h5py.File(self.path, "r") as file:
                return np.asarray(file[name][self._rows[item]])
        except BROKEN as error:
            raise damaged(self.path, error, name) from error

    @cached_property
    def _rows(self) -> dict[str, int]:
        with h5py.File(self.path, "r") as file:
            return {name: row for row, name in enumerate(decode(file["ids"][:]).tolist())}


def stage_key(
    *,
    weights: str,
    method: str,
    dataset: str,
    cache: str,
    precision: str,
    device: str,
    splits: Iterable[str],
) -> str:
    """What embeddings follow from, as one digest: digests of the weights, of both cards and of the
    cache, the precision, the class of device (cpu, cuda) and the splits."""
    parts = [_FORMAT, weights, method, dataset, cache, precision, device, sorted(set(splits))]
    return sha256_json(parts)


def write_embeddings(
    path: Path,
    ids: np.ndarray,
    arrays: Mapping[str, np.ndarray],
    serves: Mapping[Direction, Serves],
    *,
    split: np.ndarray | None = None,
    about: Mapping[str, Any] | None = None,
    key: str = "",
    seconds: float = 0.0,
    device: str = "",
) -> None:
    """Write ``ids`` (N,) and ``arrays`` ``<modality>/<view>`` (N, R), each block with a checksum,
    and which view serves what; ``about`` says where they come from."""
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file["ids"] = encode(ids.tolist())
        if split is not None:
            file["split"] = encode(split.tolist())
        for name, array in arrays.items():
            file.create_dataset(name, data=array, fletcher32=True)
        file.attrs.update({"format": _FORMAT, "seconds": seconds})
        served = json.dumps({d: s.model_dump() for d, s in serves.items()})
        texts = {"key": key, "device": device, "serves": served, "about": json.dumps(about or {})}
        for name, text in texts.items():
            file.attrs[name] = np.bytes_(text.encode() or b" ")  # of fixed length: see vector_files


def is_current(path: Path, key: str) -> bool:
    """Whether there is a file of embeddings that was made from what ``key`` says, and is sound."""
    try:
        with h5py.File(path, "r") as file:
            if bytes(file.attrs["key"]).decode() != key:
                return False
            for array in (array for m in MODALITIES if m in file for array in file[m].values()):
                array[...]  # its checksum is compared
            return True
    except BROKEN:
        return False


def read_embeddings(path: str | os.PathLike[str], known: np.ndarray) -> Embeddings:
    """Read a file of embeddings of a dataset whose ids are ``known`` (M,).

    Every row is checked, also of items that no protocol scores. Raises UserError naming array and
    row: ids that the dataset does not have or that repeat, arrays of another shape or type, vectors
    that are not finite or zero, and files that are damaged or would lead elsewhere.
    """
    path = Path(path)
    with open_vectors(path, READERS) as file:
        ids, arrays, serves = checked_vectors(file, known)
        seconds, device = (file.attributes.get(key) for key in ("seconds", "device"))
        about = file.stated("about", json.loads)
    return Embeddings(path, ids, arrays, serves, about, float(seconds or 0), str(device or ""))
