"""Any dataset of torchgeo that gives two images of one place: BigEarthNet V2, So2Sat, SEN12MS.

The card names a class of ``torchgeo.datasets`` and its arguments; torchgeo does the reading. It is
the optional extra ``crbench[geo]``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from pydantic import Field

from crbench.cards import DatasetCard, LabelsCard, ModalityCard, Strict, parse
from crbench.data.sources import Block, Source
from crbench.data.sources.raw import damage_named, pairs_at_once
from crbench.data.sources.user import splits
from crbench.data.sources.user.images import shape_and_dtype
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
    module = _torchgeo()
    kind = _dataset_class(module, table.dataset, card)
    parts = {
        name: _opened(kind, table, card, source_dir, theirs)
        for name, theirs in (table.splits or {"": ""}).items()
    }
    where = [(name, k) for name, part in parts.items() for k in range(len(part))]
    width = len(str(max((len(part) for part in parts.values()), default=1) - 1))
    ids = [f"{name or card.name}-{k:0{width}d}" for name, k in where]

    def sample(row: int) -> dict[str, Any]:
        name, k = where[row]
        what, place = f"torchgeo cannot read '{ids[row]}'", source_dir or card.name
        with damage_named(what, place, Exception, fix="get the data again"):  # of any library
            item = parts[name][k]
        for key in (table.key_a, table.key_b, *([table.label] if _labelled(card) else [])):
            if not isinstance(item, dict) or key not in item:
                have = ", ".join(map(str, item)) if isinstance(item, dict) else type(item)
                raise UserError(
                    f"a sample has no '{key}'; it has: {have}",
                    where=f"{card.name}, [source]",
                    fix="correct key_a, key_b, label or the arguments",
                )
        return item

    def read(start: int, stop: int) -> Block:
        samples = {ids[row]: sample(row) for row in range(start, stop)}
        a, b = (
            np.stack([_image(s[key], channels, modality, name) for name, s in samples.items()])
            for modality, key, channels in (
                (card.a, table.key_a, table.channels_a),
                (card.b, table.key_b, table.channels_b),
            )
        )
        labels = None
        if _labelled(card):
            rows = [_label(s[table.label], card.labels, name) for name, s in samples.items()]
            labels = np.stack(rows)
        return Block(a, b, labels)

    if table.splits:
        split, words = [name for name, _ in where], f"splits of the dataset: {table.splits}"
    else:  # without a look at the labels: that would read the whole set twice
        split, words = splits.draw(table.split, ids, None, card.name)
    lengths = {name: len(part) for name, part in parts.items()}
    fingerprint = [module.__name__, table.model_dump(), lengths, str(source_dir)]
    return Source(
        ids=ids,
        split=split,
        read=read,
        description=f"{len(ids):,} samples of torchgeo's {table.dataset}",
        fingerprint=f"torchgeo 1 {sha256_json(fingerprint)}",
        rows_per_block=pairs_at_once(card),
        notes=[f"torchgeo's {table.dataset}, arguments {table.arguments}", words],
    )


def _torchgeo() -> ModuleType:
    with needs("geo", "this source", where="source.kind = 'torchgeo'"):
        import torchgeo.datasets
    module: ModuleType = torchgeo.datasets
    return module


def _dataset_class(module: ModuleType, name: str, card: DatasetCard) -> Callable[..., Any]:
    """The class ``name`` that ``torchgeo.datasets`` exports, if it is a dataset without geography:
    others are indexed by places, not by numbers. Nothing else of torchgeo can be named."""
    base = module.NonGeoDataset
    known = {
        key: value
        for key in module.__all__
        if inspect.isclass(value := getattr(module, key, None)) and issubclass(value, base)
    }
    if name not in known:
        raise unknown("dataset of torchgeo", name, known, where=f"{card.name}, source.dataset")
    chosen: Callable[..., Any] = known[name]
    return chosen


def _opened(
    kind: Callable[..., Any],
    table: _GeoTable,
    card: DatasetCard,
    source_dir: Path | None,
    split: str,
) -> Any:
    arguments = dict(table.arguments)
    if source_dir is not None:
        arguments.setdefault("root", str(source_dir))
    if split:
        arguments["split"] = split
    try:
        return kind(**arguments)
    except Exception as error:  # each dataset has errors of its own: missing files, bad arguments
        text = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"torchgeo's {table.dataset} cannot be opened: {type(error).__name__}: {text}",
            where=source_dir or f"{card.name}, source.arguments",
            fix=f"get the data ({card.where}); correct --source or the arguments",
        ) from error


def _labelled(card: DatasetCard) -> bool:
    return card.labels.kind != "none"


def _image(value: Any, channels: list[int], modality: ModalityCard, name: str) -> np.ndarray:
    """(C, H, W) in the card's dtype, from a tensor in any dtype that holds the same values."""
    pixels = np.asarray(value)
    if channels and pixels.ndim == 3 and max(channels) < len(pixels):
        pixels = pixels[channels]
    wanted = (len(modality.bands), *modality.size)
    with np.errstate(invalid="ignore"):
        cast = pixels.astype(modality.dtype)
    if pixels.shape != wanted or not np.array_equal(cast, pixels, equal_nan=True):
        have = shape_and_dtype(pixels)
        same = "" if pixels.shape != wanted else f", with values that {modality.dtype} cannot hold"
        raise UserError(
            f"'{name}' is {have}{same}; the card says {modality.name} is "
            f"{'×'.join(map(str, wanted))} {modality.dtype}",
            where="source.kind = 'torchgeo'",
            fix="correct bands, size or dtype in the card, or channels in [source]",
        )
    return cast


def _label(value: Any, card: LabelsCard, name: str) -> np.ndarray:
    """A class number () int64, or 0 and 1 for each class (C,) uint8."""
    label = np.asarray(value)
    shape = () if card.kind == "single" else (len(card.classes),)
    top = len(card.classes) - 1 if card.kind == "single" else 1
    if label.shape != shape or not np.isin(label, np.arange(top + 1)).all():
        expected = f"one of 0…{top}" if card.kind == "single" else f"{len(card.classes)} of 0 and 1"
        raise UserError(
            f"the label of '{name}' is {label.dtype} {label.shape}, expected {expected}",
            where="source.kind = 'torchgeo'",
            fix="correct labels.kind or labels.classes in the card",
        )
    return label.astype(np.int64 if card.kind == "single" else np.uint8)
