"""Sources: where the pairs of a cache come from. One function each, found by registry key.

``open_source(card, source_dir) -> Source``. A source gives its ids and splits at once and its
pixels by range of rows, always the same for the same range: so a build can stop and go on.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from crbench.errors import UserError, unknown

if TYPE_CHECKING:
    import numpy as np

    from crbench.cards import DatasetCard

SOURCES = {
    "twin": "crbench.data.sources.synthetic.twins:open_source",
    "landsat7": "crbench.data.sources.landsat7:open_source",
    "eurosat-wald": "crbench.data.sources.eurosat_wald:open_source",
    "ben14k": "crbench.data.sources.bigearthnet.source:open_source",
    "cbrsir-vs": "crbench.data.sources.user.folders:open_source",
    "dsrsid": "crbench.data.sources.dsrsid:open_source",
    "hdf5": "crbench.data.sources.user.hdf5:open_source",
    "torchgeo": "crbench.data.sources.user.geo:open_source",
    "folders": "crbench.data.sources.user.folders:open_source",
}
OWN = ("folders", "hdf5", "torchgeo")  # forms in which a user's own pairs are read


@dataclass(frozen=True)
class Block:
    """Rows of a source: images (n, C, H, W) in the cards' dtypes; labels (n, C) uint8 multi-hot,
    (n,) int64 classes, or None where the set has none."""

    a: np.ndarray
    b: np.ndarray
    labels: np.ndarray | None


@dataclass(frozen=True)
class Source:
    """A dataset ready to be read. ``fingerprint`` changes when the pixels would.

    ``groups``, where a source knows them, say what ground a pair shows: ``"place"`` or
    ``"place/date"``, e.g. ``"34TCR/20170803"`` (tile and day) or ``"scene03"``. Pairs of one group
    are neighbours, which `cache verify` counts; pairs of one place (the part before the slash) are
    kept apart by protocols with ``exclude = "place"``.

    ``missing``: pairs that the card asks for and the raw data lack; None where it asks for no list.
    """

    ids: list[str]
    split: list[str]
    read: Callable[[int, int], Block]
    description: str
    fingerprint: str
    rows_per_block: int = 64
    notes: list[str] = field(default_factory=list)
    resampling: str = "none"
    groups: list[str] | None = None
    missing: int | None = None


@dataclass(frozen=True)
class Packed:
    """Raw data in archives. ``unpack(folder, quiet)`` keeps what is needed of them in ``folder``,
    which the build removes at its end, and gives the source; it goes on with what an earlier call
    left there."""

    unpack: Callable[[Path, bool], Source]


def with_kind(card: DatasetCard, kind: str | None) -> DatasetCard:
    """``card`` reading from a source of ``kind`` (one of ``OWN``). Keys of another kind are left
    behind, but for the rule of the splits."""
    if kind is None or card.source.get("kind") == kind:
        return card
    if kind not in OWN:
        raise unknown("form of data", kind, OWN, where="--from")
    kept = card.source if "kind" not in card.source else {}
    if "split" in card.source:
        kept = {**kept, "split": card.source["split"]}
    return card.model_copy(update={"source": {**kept, "kind": kind}})


def open_source(card: DatasetCard, source_dir: Path | None = None) -> Source | Packed:
    """The source named by ``card.source["kind"]``; those with raw data read ``source_dir``."""
    kind = str(card.source.get("kind", ""))
    if not kind:
        raise UserError(
            "the card says nothing of where the images come from",
            where=f"{card.name}, source.kind",
            fix=f"--from {' or '.join(OWN)}, or a [source] table in the card",
        )
    if kind not in SOURCES:
        raise unknown("source", kind, SOURCES, where=f"{card.name}, source.kind")
    module, name = SOURCES[kind].split(":")
    source: Source | Packed = getattr(importlib.import_module(module), name)(card, source_dir)
    return source
