"""The cache: one HDF5 file per dataset, opened for reading.

Layout (version 1). ``/a/images`` and ``/b/images`` (N, C, H, W), contiguous, at native size and
dtype; ``/labels`` (N, classes) uint8 multi-hot or (N,) int64 class, absent for unlabelled sets;
``/ids`` and ``/split`` (N,) UTF-8 bytes of fixed length, and so ``/groups`` where the source knows
what ground a pair shows; ``/positions`` (N, 3) float64 where it knows where that lies;
``/checks/<array>`` (N, 8) uint8, a digest per sample, so that damage can be named.
Attributes of the root and of ``/a`` and ``/b`` say what the data are; ``complete`` is written last.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from crbench.cards import DatasetCard, ModalityCard, parse
from crbench.errors import UserError, unknown
from crbench.files import sha256_json
from crbench.scoring.protocol import Items
from crbench.words import MODALITIES

Span = tuple[int, np.dtype, tuple[int, ...]]  # offset in the file, dtype, shape
CACHE_FORMAT = "crbench-cache"
CACHE_VERSION = 1
STATISTICS = ("mean", "std")  # per band, attributes of /a and /b
EXTENT = ("min", "max", "invalid")  # beside them; caches made before them have none
# What h5py, json and numpy raise on bytes that are not what they were.
HDF5_ERRORS = (OSError, KeyError, ValueError, TypeError, AttributeError, RuntimeError)
# A file of the stacked BEN-14K, which is another set than ben-14k (sources/bigearthnet/stacked.py).
STACKED_FILE = re.compile(
    r"(?:[^/]+/)*BigEarthNet-(?P<sensor>S[12])/(?P<split>train|validation|test)/(?P<patch>[^/]+)\.tif"
)
_REBUILD = "build it again: crbench cache build {card} --force"


@dataclass
class Cache:
    """A finished cache, read-only. Small arrays are in memory, images are memory-mapped.

    ``ids`` and ``split`` (N,) str; ``labels`` (N, classes) uint8, (N,) int64, or None; ``groups``
    (N,) str, ``"place"`` or ``"place/date"`` of each pair, or None where they are not known;
    ``positions`` (N, 3) float64, geocentric metres (see ``Source``), or None. ``normalised_by``:
    statistics by modality to use instead of its own: those of a run that another set trained.
    """

    path: Path
    card: DatasetCard
    n: int
    ids: np.ndarray
    split: np.ndarray
    labels: np.ndarray | None
    attributes: dict[str, dict[str, Any]]
    _spans: dict[str, Span]
    groups: np.ndarray | None = None
    positions: np.ndarray | None = None
    normalised_by: dict[str, dict[str, list[float]]] | None = None
    _maps: dict[str, np.memmap] = field(default_factory=dict, repr=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}  # each process maps the file for itself

    def images(self, modality: str) -> np.memmap:
        """Images of modality "a" or "b", (N, C, H, W) in native dtype, read-only, not loaded."""
        if modality not in self._maps:
            offset, dtype, shape = self._spans[modality]
            self._maps[modality] = np.memmap(self.path, dtype, "r", offset, shape)
        return self._maps[modality]

    def stats(self, modality: str) -> dict[str, np.ndarray]:
        """``mean`` and ``std`` per band in use, (C,) float64, in stored units: those of the train
        split, or the published ones where the card says ``normalise = "published"``; or those that
        it is ``normalised_by``."""
        if self.normalised_by is not None:
            own = self.normalised_by[modality]
            return {key: np.asarray(own[key], dtype=np.float64) for key in STATISTICS}
        group = self.attributes[modality]
        published = self.card.normalise == "published"
        if published and "published_mean" not in group:
            raise UserError(
                f"{self.card.name} has no published statistics for modality {modality}",
                where=self.path,
                fix='use normalise = "cache"',
            )
        prefix = "published_" if published else ""
        positions = self.band_positions(modality)
        used = slice(None) if positions is None else positions
        mean, std = (np.asarray(group[prefix + k], dtype=np.float64)[used] for k in STATISTICS)
        return {"mean": mean, "std": np.where(std > 0, std, 1.0)}

    def band_positions(self, modality: str) -> np.ndarray | None:
        """Where the bands in use stand among those stored, (C,) int64; None for all as stored."""
        card = self.card.modality(modality)
        if card.used == card.bands:
            return None
        return np.array([card.bands.index(band) for band in card.used])

    @property
    def digest(self) -> str:
        """SHA-256 of what is stored: images, labels, ids, splits and bands, not of the card.

        Groups are left out: they describe the pairs, and a set keeps its digest when they are
        added to it.
        """
        bands = {which: self.card.modality(which).bands for which in MODALITIES}
        arrays = {name: sha for name, sha in self.array_digests.items() if name != "groups"}
        return sha256_json({"arrays": arrays, "bands": bands})

    @property
    def array_digests(self) -> dict[str, str]:
        """SHA-256 (hex) of the bytes of each array: a, b, ids, split; labels, groups, positions
        if given."""
        return dict(self.attributes["/"]["sha256"])

    @property
    def places(self) -> np.ndarray | None:
        """The tile or scene of each pair, (N,) str, or None where it is not known."""
        if self.groups is None:
            return None
        return np.char.partition(self.groups, "/")[:, 0]

    def rows(self, splits: Sequence[str]) -> np.ndarray:
        """Row numbers of the pairs in ``splits``, (n,) int64, in file order."""
        present = np.unique(self.split).tolist()
        for name in splits:
            if name not in present:
                raise unknown("split", name, present, where=self.path)
        return np.flatnonzero(np.isin(self.split, list(splits)))

    def items(self, rows: np.ndarray) -> Items:
        """Ids of the pairs at ``rows``, and what says which of them answer each other: labels, or
        positions and the card's radius."""
        if self.card.labels.kind == "place" and self.positions is not None:
            radius = self.card.labels.radius_m
            return Items(self.ids[rows], positions=self.positions[rows], radius_m=radius)
        return Items(self.ids[rows], None if self.labels is None else self.labels[rows])


def default_path(card: DatasetCard) -> Path:
    """Where the cache of ``card`` lies: ``$CRBENCH_CACHES`` or ``./caches``, by name and scale."""
    suffix = "" if card.scale == "default" else f"@{card.scale}"
    return Path(os.environ.get("CRBENCH_CACHES", "caches")) / f"{card.name}{suffix}.h5"


def open_cache(path: str | os.PathLike[str], card: DatasetCard | None = None) -> Cache:
    """Open a finished cache; with ``card``, the card in use, which must fit what is stored.

    Raises UserError for a file that is missing, unfinished, cut, of another version or no cache,
    and where bands, sizes or classes differ from ``card``.
    """
    path = Path(path)
    if not path.is_file():
        part = path.with_name(path.name + ".part")
        name = path.stem.split("@")[0]
        what = "this cache is not finished" if part.is_file() else "no such cache"
        raise UserError(what, where=path, fix=f"crbench cache build {card.name if card else name}")
    try:
        cache = _read(path)
    except PermissionError as error:
        raise UserError("cannot read this cache: permission denied", where=path) from error
    except HDF5_ERRORS as error:
        if is_stacked_zip(path):
            raise stacked_set(path) from error
        raise UserError(
            f"this file is damaged or no cache ({brief(error)})",
            where=path,
            fix=_REBUILD.format(card=card.name if card else "CARD"),
        ) from error
    if card is not None:
        check_bands(cache, card)
        cache.card = card
    return cache


def is_stacked_zip(path: Path) -> bool:
    """Whether a file is the zip in which the stacked BEN-14K is passed around."""
    try:
        with zipfile.ZipFile(path) as archive:
            return any(STACKED_FILE.fullmatch(name) for name in archive.namelist())
    except (OSError, zipfile.BadZipFile, EOFError, ValueError):
        return False


def stacked_set(path: Path) -> UserError:
    """What a command says that was given the stacked BEN-14K for something else."""
    return UserError(
        "this is the stacked BEN-14K of ten bands (card ben-14k-10), not the 14,832 patches of "
        "ben-14k, and no cache",
        where=path,
        fix=f"crbench cache build ben-14k-10 --source {path}",
    )


def brief(error: Exception) -> str:
    """The first line of an error's message."""
    return str(error).splitlines()[0].strip("'\"")[:160] if str(error) else type(error).__name__


def _read(path: Path) -> Cache:
    with h5py.File(path, "r") as file:
        root = {key: _plain(value) for key, value in file.attrs.items()}
        if root.get("format") != CACHE_FORMAT:
            raise ValueError("the attribute 'format' is missing")
        what = ""
        if int(root["version"]) != CACHE_VERSION:
            what = f"this cache has version {root['version']}, this program reads {CACHE_VERSION}"
        elif not int(root.get("complete", 0)):
            what = "this cache is not finished: its end mark is missing"
        if what:
            raise UserError(what, where=path, fix=_REBUILD.format(card="CARD"))
        card = parse(DatasetCard, json.loads(root["card"]), where=f"card inside {path}")
        root["sha256"] = {str(k): str(v) for k, v in json.loads(root["sha256"]).items()}
        root["notes"] = json.loads(root["notes"])
        arrays = stored_arrays(file)
        n = len(arrays["ids"])
        texts = {name: ((n,), a.dtype) for name, a in arrays.items() if a.dtype.kind == "S"}
        placed = "positions" in arrays or card.labels.kind == "place"
        expected = {**texts, **array_table(card, n)}
        expected |= {"positions": ((n, 3), np.dtype("<f8"))} if placed else {}
        if expected.keys() != arrays.keys():
            raise ValueError(f"there are {', '.join(arrays)}, its card says {', '.join(expected)}")
        for name, array in arrays.items():
            if (array.shape, array.dtype) != expected[name]:
                raise ValueError(
                    f"{array.name} is {array.dtype} {array.shape}, not as its card says"
                )
            if array.id.get_offset() + array.nbytes > path.stat().st_size:
                raise ValueError(f"the file ends inside {array.name}")
        attributes = {"/": root}
        for which in MODALITIES:
            attributes[which] = {k: _plain(v) for k, v in file[which].attrs.items()}
        return Cache(
            path=path,
            card=card,
            n=n,
            ids=decode(arrays["ids"][:]),
            split=decode(arrays["split"][:]),
            labels=arrays["labels"][:] if "labels" in arrays else None,
            attributes=attributes,
            groups=decode(arrays["groups"][:]) if "groups" in arrays else None,
            positions=arrays["positions"][:] if placed else None,
            _spans={name: span(array) for name, array in arrays.items()},
        )


def _plain(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value


def array_table(card: DatasetCard, n: int) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and little-endian dtype of the images ``a`` and ``b``, and of ``labels`` if any."""
    table: dict[str, tuple[tuple[int, ...], np.dtype]] = {}
    if card.labels.kind == "multi":
        table["labels"] = (n, len(card.labels.classes)), np.dtype("u1")
    elif card.labels.kind == "single":
        table["labels"] = (n,), np.dtype("<i8")
    for which, m in (("a", card.a), ("b", card.b)):
        table[which] = (n, len(m.bands), *m.size), np.dtype(m.dtype).newbyteorder("<")
    return table


def stored_arrays(file: h5py.File) -> dict[str, h5py.Dataset]:
    """The arrays that digests are kept of, by the name under which they are kept."""
    images = {which: file[f"{which}/images"] for which in MODALITIES}
    rest = {name: file[name] for name in ("labels", "groups", "positions") if name in file}
    return {**images, "ids": file["ids"], "split": file["split"], **rest}


def span(array: h5py.Dataset) -> Span:
    """Where the bytes of an array lie in the file."""
    return array.id.get_offset(), array.dtype, array.shape


def encode(texts: Sequence[str]) -> np.ndarray:
    """Strings as UTF-8 bytes of one length, (N,) S; the form in which ids and splits are stored."""
    return np.array([text.encode() for text in texts], dtype=np.bytes_)


def decode(stored: np.ndarray) -> np.ndarray:
    """The inverse of ``encode``: (N,) str."""
    return np.char.decode(stored, "utf-8")


def check_bands(cache: Cache, card: DatasetCard) -> None:
    """Refuse a card whose bands, size, dtype, units or classes differ, showing both sides."""
    problems = []
    for which in MODALITIES:
        stored, wanted = cache.card.modality(which), card.modality(which)
        if stored.bands != wanted.bands:
            problems.append(f"{which} bands: {_difference(stored.bands, wanted.bands)}")
        problems += [f"{which} {text}" for text in other_facts(stored, wanted)]
    if cache.card.labels.kind != card.labels.kind:
        problems.append(f"labels: cache {cache.card.labels.kind}, card {card.labels.kind}")
    elif cache.card.labels.classes != card.labels.classes:
        difference = _difference(cache.card.labels.classes, card.labels.classes)
        problems.append(f"classes: {difference}")
    if problems:
        raise UserError(
            f"the cache does not fit the card '{card.name}': " + "; ".join(problems),
            where=cache.path,
            fix=f"take the card it was made with ('{cache.card.name}'), or "
            + _REBUILD.format(card=card.name),
        )


def other_facts(stored: ModalityCard, wanted: ModalityCard) -> list[str]:
    """In words, what a cache and a card say differently of a modality's size, dtype and units."""
    pairs = {
        key: (getattr(stored, key), getattr(wanted, key)) for key in ("size", "dtype", "units")
    }
    return [
        f"{key}: cache {have}, card {want}" for key, (have, want) in pairs.items() if have != want
    ]


def _difference(stored: Sequence[str], wanted: Sequence[str]) -> str:
    missing = ", ".join(name for name in wanted if name not in stored)
    extra = ", ".join(name for name in stored if name not in wanted)
    parts = [f"the cache lacks {missing}"] if missing else []
    parts += [f"the cache has {extra}, the card does not"] if extra else []
    other = f"other order, cache {', '.join(stored)}, card {', '.join(wanted)}"
    return " and ".join(parts) or other


def class_counts(card: DatasetCard, labels: np.ndarray) -> dict[str, int]:
    """Pairs of each class of the card, from (N,) int64 classes or (N, C) multi-hot."""
    top = len(card.labels.classes)
    counts = labels.sum(0) if labels.ndim == 2 else np.bincount(labels, minlength=top)
    return dict(zip(card.labels.classes, counts.tolist(), strict=True))


def cache_info(path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a cache holds, as plain data: pairs per split, bands, sizes, statistics, digests."""
    cache = open_cache(path)
    card, root = cache.card, cache.attributes["/"]
    names, counts = np.unique(cache.split, return_counts=True)
    info: dict[str, Any] = {
        "path": str(cache.path),
        "dataset": card.name,
        **card.model_dump(include={"title", "synthetic", "note", "scale"}),
        "pairs": cache.n,
        "splits": dict(zip(names.tolist(), counts.tolist(), strict=True)),
        "bytes": cache.path.stat().st_size,
        "digest": cache.digest,
        "card_digest": card.digest,
        "source": root["source"],
        "notes": root["notes"],
        "missing": int(root.get("missing", 0)),
        "labels": card.labels.kind,
        "modalities": {},
    }
    if cache.labels is not None:
        info["classes"] = class_counts(card, cache.labels)
    for which in MODALITIES:
        facts = card.modality(which).model_dump(
            include={"name", "bands", "size", "dtype", "units"}, mode="json"
        )
        for key in (*STATISTICS, *EXTENT):
            value = cache.attributes[which].get(key)
            facts[key] = None if value is None else np.asarray(value).tolist()
        published = {f"published_{key}": getattr(card.modality(which), key) for key in STATISTICS}
        info["modalities"][which] = {**facts, **published}
    return info
