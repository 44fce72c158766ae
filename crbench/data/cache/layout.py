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
from crbench.data.cache.reading import CACHE_FORMAT, CACHE_VERSION, EXTENT, STATISTICS, encode
from crbench.data.cache.scan import CHECK_BYTES, Scan
from crbench.data.sources import Source
from crbench.files import sha256_json
from crbench.words import MODALITIES

Span = tuple[int, np.dtype, tuple[int, ...]]  # offset in the file, dtype, shape
_SHA_FIELD = 600  # bytes kept for the JSON of all array digests


def image_arrays(card: DatasetCard, n: int) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Shape and little-endian dtype of the images of both modalities."""
    return {
        which: ((n, len(m.bands), *m.size), np.dtype(m.dtype).newbyteorder("<"))
        for which, m in (("a", card.a), ("b", card.b))
    }


def label_array(card: DatasetCard, n: int) -> tuple[tuple[int, ...], np.dtype] | None:
    """Shape and dtype of the labels, None for an unlabelled set."""
    shapes: dict[str, tuple[tuple[int, ...], np.dtype]] = {
        "multi": ((n, len(card.labels.classes)), np.dtype("u1")),
        "single": ((n,), np.dtype("<i8")),
    }
    return shapes.get(card.labels.kind)


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
        _dataset(file, "ids", encode(source.ids))
        _dataset(file, "split", encode(source.split))
        if source.groups is not None:
            _dataset(file, "groups", encode(source.groups))
        if label := label_array(card, n):
            _dataset(file, "labels", shape=label[0], dtype=label[1])
        for which, (shape, dtype) in image_arrays(card, n).items():
            modality = card.modality(which)
            group = file.create_group(which)
            _dataset(group, "images", shape=shape, dtype=dtype)
            group.attrs["name"] = _fixed(modality.name)
            group.attrs["bands"] = _fixed(json.dumps(modality.bands, ensure_ascii=False))
            group.attrs["units"] = _fixed(modality.units)
            for key in (*STATISTICS, *EXTENT):
                group.attrs[key] = np.zeros(len(modality.bands))
            if modality.mean is not None and modality.std is not None:
                group.attrs["published_mean"] = np.array(modality.mean)
                group.attrs["published_std"] = np.array(modality.std)
        checks = file.create_group("checks")
        for name in arrays(file):
            _dataset(checks, name, shape=(n, CHECK_BYTES), dtype="u1")


def _fixed(value: Any) -> Any:
    """Texts as bytes of fixed length: HDF5 may crash on a damaged heap of variable-length ones."""
    return np.bytes_(value.encode() or b" ") if isinstance(value, str) else value


def _dataset(
    parent: Any, name: str, data: Any = None, shape: Any = None, dtype: Any = None
) -> None:
    """A contiguous dataset whose space is allocated at once and never filled."""
    if data is not None:
        shape, dtype = data.shape, data.dtype
    plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    plist.set_layout(h5py.h5d.CONTIGUOUS)
    plist.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    plist.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    plist.set_obj_track_times(False)  # equal builds give equal bytes
    space = h5py.h5s.create_simple(tuple(int(side) for side in shape))
    kind = h5py.h5t.py_create(np.dtype(dtype), logical=True)
    made = h5py.Dataset(h5py.h5d.create(parent.id, name.encode(), kind, space, plist))
    if data is not None:
        made[...] = data


def arrays(file: h5py.File) -> dict[str, h5py.Dataset]:
    """The arrays that digests are kept of, by the name under which they are kept."""
    images = {which: file[f"{which}/images"] for which in MODALITIES}
    rest = {name: file[name] for name in ("labels", "groups") if name in file}
    return {**images, "ids": file["ids"], "split": file["split"], **rest}


def spans(path: Path) -> dict[str, Span]:
    """Where the bytes of every array lie in the file."""
    with h5py.File(path, "r") as file:
        return {
            name: (array.id.get_offset(), array.dtype, array.shape)
            for name, array in arrays(file).items()
        }


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
    header: dict[str, dict[str, Any]] = {}
    for where in ("/", "a", "b"):
        header[where] = {
            key: value.decode() if isinstance(value, bytes) else np.asarray(value).tolist()
            for key, value in file[where].attrs.items()
            if key not in ("header_sha256", "complete")
        }
    return sha256_json(header)
