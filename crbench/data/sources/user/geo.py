"""Any dataset of torchgeo that gives two images of one place: BigEarthNet V2, So2Sat, SEN12MS.

The card names a class of ``torchgeo.datasets`` and its arguments; torchgeo does the reading. It is
the optional extra ``crbench[geo]``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from crbench.cards import DatasetCard, ModalityCard, Strict, parse
from crbench.data.sources import Block, Source
from crbench.data.sources.raw import damage_named, other_than_card, pairs_at_once
from crbench.data.sources.user import splits
from crbench.data.sources.user.label_files import class_array
from crbench.errors import UserError, needs, unknown
from crbench.files import sha256_json


class _GeoTable(Strict):
    """``[source]``: which dataset, its arguments, and what of a sample is what.

    ``root`` is --source, where ``arguments`` do not say it. ``key_a`` and ``key_b`` may be one key,
    with bands by number in ``channels_a`` and ``channels_b``, for datasets that stack both sensors.
    ``splits``: the cache's splits by the dataset's own, ``{ train = "train", query = "test" }``;
    without it the dataset is read once and split by the rule of ``split``.
    """

    kind: str
    dataset: str
    arguments: dict[str, Any] = Field(default_factory=dict)
    key_a: str = "image_s1"
    key_b: str = "image_s2"
    channels_a: list[int] = Field(default_factory=list)
    channels_b: list[int] = Field(default_factory=list)
    label: str = "label"
    splits: dict[str, str] = Field(default_factory=dict)
    split: dict[str, Any] = Field(default_factory=dict)


def open_torchgeo(card: DatasetCard, source_dir: Path | None) -> Source:
    """All samples of the dataset, split by split; ids are ``<split>-<number>``.

    Pixels that torchgeo gives as float32 go into the card's dtype where that changes no value.
    A class that is no dataset, arguments it does not take and missing data are a UserError.
    """
    table = parse(_GeoTable, card.source, where=f"{card.name}, [source]")
    kind = _dataset_class(table.dataset, card)
    place = source_dir or f"{card.name}, [source]"
    root = {} if source_dir is None else {"root": str(source_dir)}
    parts = {}
    for name, theirs in (table.splits or {"": ""}).items():
        arguments = {**root, **table.arguments, **({"split": theirs} if theirs else {})}
        fix = f"get the data ({card.where}); correct --source or the arguments"
        with damage_named(f"torchgeo cannot open its {table.dataset}", place, Exception, fix=fix):
            parts[name] = kind(**arguments)
    where = [(name, k) for name, part in parts.items() for k in range(len(part))]
    width = len(str(max((len(part) for part in parts.values()), default=1) - 1))
    ids = [f"{name or card.name}-{k:0{width}d}" for name, k in where]

    keys = [table.key_a, table.key_b, *([table.label] if card.labels.kind != "none" else [])]

    def sample(row: int) -> list[np.ndarray]:
        name, k = where[row]
        with damage_named(f"torchgeo cannot read '{ids[row]}'", place, Exception):  # of any library
            item = dict(parts[name][k])
        if lacking := [key for key in keys if key not in item]:
            raise UserError(
                f"a sample has no '{lacking[0]}'; it has: {', '.join(map(str, item))}",
                where=f"{card.name}, [source]",
                fix="correct key_a, key_b, label or the arguments",
            )
        a, b, *label = (np.asarray(item[key]) for key in keys)
        what = f"the label of '{ids[row]}'"
        return [
            _image(a, table.channels_a, card.a, ids[row]),
            _image(b, table.channels_b, card.b, ids[row]),
            *(class_array(x[None], 1, card.labels, what=what, where=place)[0] for x in label),
        ]

    def read(start: int, stop: int) -> Block:
        a, b, *labels = map(np.stack, zip(*map(sample, range(start, stop)), strict=True))
        return Block(a, b, labels[0] if labels else None)

    if table.splits:
        split, words = [name for name, _ in where], f"splits of the dataset: {table.splits}"
    else:  # without a look at the labels: that would read the whole set twice
        split, words = splits.draw(table.split, ids, None, card.name)
    lengths = {name: len(part) for name, part in parts.items()}
    fingerprint = ["torchgeo.datasets", table.model_dump(), lengths, str(source_dir)]
    return Source(
        ids=ids,
        split=split,
        read=read,
        description=f"{len(ids):,} samples of torchgeo's {table.dataset}",
        fingerprint=f"torchgeo 1 {sha256_json(fingerprint)}",
        rows_per_block=pairs_at_once(card),
        notes=[f"torchgeo's {table.dataset}, arguments {table.arguments}", words],
    )


def _dataset_class(name: str, card: DatasetCard) -> Callable[..., Any]:
    """The class ``name`` that ``torchgeo.datasets`` exports, if it is a dataset without geography:
    others are indexed by places, not by numbers. Nothing else of torchgeo can be named."""
    with needs("geo", "this source", where="source.kind = 'torchgeo'"):
        import torchgeo.datasets as module
    exported = {key: getattr(module, key, None) for key in module.__all__}
    known: dict[str, Callable[..., Any]] = {
        key: value
        for key, value in exported.items()
        if inspect.isclass(value) and issubclass(value, module.NonGeoDataset)
    }
    if name not in known:
        raise unknown("dataset of torchgeo", name, known, where=f"{card.name}, source.dataset")
    return known[name]


def _image(
    pixels: np.ndarray, channels: list[int], modality: ModalityCard, name: str
) -> np.ndarray:
    """(C, H, W) in the card's dtype, from another one that holds the same values."""
    if channels and pixels.ndim == 3 and max(channels) < len(pixels):
        pixels = pixels[channels]
    with np.errstate(invalid="ignore"):
        cast = pixels.astype(modality.dtype)
    same = np.array_equal(cast, pixels, equal_nan=True)
    if pixels.shape != (len(modality.bands), *modality.size) or not same:
        why = "" if same else f", with values that {modality.dtype} cannot hold"
        raise other_than_card(f"'{name}'", pixels, modality, where="[source]", why=why)
    return cast
