"""How a cache is laid out in HDF5: created whole, written in place, sealed at the end.

All space, names and attributes exist before the first pixel is written, so that a kill at any
moment leaves a file that opens. The end only overwrites placeholders of the same size.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from crbench.cards import DatasetCard
from crbench.data.cache.reading import (
    CACHE_FORMAT,
    CACHE_VERSION,
    EXTENT,
    STATISTICS,
    Span,
    array_table,
    encode,
    span,
    stored_arrays,
)
from crbench.data.cache.scan import CHECK_BYTES, Scan
from crbench.data.sources import Source
from crbench.files import sha256_json

_SHA_FIELD = 600  # bytes kept for the JSON of all array digests


def create_file(card: DatasetCard, source: Source, part: Path) -> None:
    """Create the file with all its space, names and placeholders; nothing moves afterwards."""
    n = len(source.ids)
    # Structures of HDF5 1.8: they carry checksums, which 1.6's lack, and no open-for-writing mark,
    # which 1.10's have and which a kill would leave behind.
    with h5py.File(part, "w", libver=("v108", "v108")) as file:
        root: dict[str, Any] = {
            "format": CACHE_FORMAT,
            "version": CACHE_VERSION,
            "card": card.model_dump_json(by_alias=True),
            "card_digest": card.digest,
            "classes": json.dumps(card.labels.classes, ensure_ascii=False),
            "source": source.description,
            "fingerprint": source.fingerprint,
            "notes": json.dumps(source.notes, ensure_ascii=False),
            "resampling": source.resampling,
            "sha256": np.bytes_(b"-" * _SHA_FIELD),
            "header_sha256": np.bytes_(b"-" * 64),
            "complete": np.uint8(0),
        }
        if source.missing is not None:
            root["missing"] = np.int64(source.missing)
        for key, value in root.items():
            file.attrs[key] = _fixed(value)
        for name, texts in (
            ("ids", source.ids),
            ("split", source.split),
            ("groups", source.groups),
        ):
            if texts is not None:
                data = encode(texts)
                _dataset(file, name, data.shape, data.dtype)[...] = data
        if source.positions is not None:
            _dataset(file, "positions", (n, 3), np.dtype("<f8"))[...] = source.positions
        for name, (shape, dtype) in array_table(card, n).items():
            if name == "labels":
                _dataset(file, name, shape, dtype)
                continue
            modality = card.modality(name)
            group = file.create_group(name)
            _dataset(group, "images", shape, dtype)
            group.attrs["name"] = _fixed(modality.name)
            group.attrs["bands"] = _fixed(json.dumps(modality.bands, ensure_ascii=False))
            group.attrs["units"] = _fixed(modality.units)
            for key in (*STATISTICS, *EXTENT):
                group.attrs[key] = np.zeros(len(modality.bands))
            if modality.mean is not None and modality.std is not None:
                group.attrs["published_mean"] = np.array(modality.mean)
                group.attrs["published_std"] = np.array(modality.std)
        checks = file.create_group("checks")
        for name in stored_arrays(file):
            _dataset(checks, name, (n, CHECK_BYTES), np.dtype("u1"))


def _fixed(value: Any) -> Any:
    """Texts as bytes of fixed length: HDF5 may crash on a damaged heap of variable-length ones."""
    return np.bytes_(value.encode() or b" ") if isinstance(value, str) else value


def _dataset(parent: Any, name: str, shape: tuple[int, ...], dtype: np.dtype) -> h5py.Dataset:
    """A contiguous dataset whose space is allocated at once and never filled."""
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.CONTIGUOUS)
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    plist.set_obj_track_times(False)  # equal builds give equal bytes
    space, kind = h5py.h5s.create_simple(shape), h5py.h5t.py_create(dtype, logical=True)
    return h5py.Dataset(h5py.h5d.create(parent.id, name.encode(), kind, space, plist))


def spans(path: Path) -> dict[str, Span]:
    """Where the bytes of every array lie in the file."""
    with h5py.File(path, "r") as file:
        return {name: span(array) for name, array in stored_arrays(file).items()}


def seal(part: Path, scans: dict[str, Scan], train: np.ndarray) -> None:
    """Write digests and statistics over their placeholders, then, in a second step, the mark.

    ``train`` (N,) bool: the rows whose statistics are kept.
    """
    with h5py.File(part, "r+") as file:
        for name, result in scans.items():
            file["checks"][name][...] = result.checks
            if result.mean is not None and result.std is not None:
                low, high, invalid = (x[train] for x in (result.low, result.high, result.invalid))
                facts = (result.mean, result.std, low.min(0), high.max(0), invalid.mean(0))
                for key, value in zip((*STATISTICS, *EXTENT), facts, strict=True):
                    file[name].attrs.modify(key, value)
        digests = json.dumps({name: result.sha256 for name, result in scans.items()})
        file.attrs.modify("sha256", np.bytes_(digests.ljust(_SHA_FIELD).encode()))
        file.attrs.modify("header_sha256", np.bytes_(header_digest(file).encode()))
    with h5py.File(part, "r+") as file:
        file.attrs.modify("complete", np.uint8(1))


def header_digest(file: h5py.File) -> str:
    """SHA-256 of all attributes but the digest itself and the mark."""
    return sha256_json(
        {
            where: {
                key: value.decode() if isinstance(value, bytes) else np.asarray(value).tolist()
                for key, value in file[where].attrs.items()
                if key not in ("header_sha256", "complete")
            }
            for where in ("/", "a", "b")
        }
    )
