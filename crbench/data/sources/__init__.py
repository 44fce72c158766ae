"""Sources: where the pairs of a cache come from. One function each, found by ``source.kind``.

Each takes ``(card, source_dir)`` and gives a ``Source``: its ids and splits at once, its pixels by
range of rows, always the same for the same range, so that a build can stop and go on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from crbench.errors import UserError, unknown
from crbench.plugins import import_named, registered

if TYPE_CHECKING:
    import numpy as np

    from crbench.cards import DatasetCard

_BUILT_IN = {
    "twin": "crbench.data.sources.synthetic.twins:open_twin",
    "landsat7": "crbench.data.sources.landsat7:open_landsat7",
    "eurosat-wald": "crbench.data.sources.eurosat_wald:open_eurosat_wald",
    "ben14k": "crbench.data.sources.bigearthnet.source:open_bigearthnet",
    "ben14k-10": "crbench.data.sources.bigearthnet.stacked:open_stacked",
    "cbrsir-vs": "crbench.data.sources.user.folders:open_folders",
    "dsrsid": "crbench.data.sources.user.hdf5:open_hdf5_pairs",
    "hdf5": "crbench.data.sources.user.hdf5:open_hdf5_pairs",
    "torchgeo": "crbench.data.sources.user.geo:open_torchgeo",
    "folders": "crbench.data.sources.user.folders:open_folders",
    "scenes": "crbench.data.sources.scenes.source:open_scenes",
}
_GROUP = "crbench.sources"  # entry points of other packages
_OWN = ("folders", "hdf5", "torchgeo")  # forms in which a user's own pairs are read


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

    ``positions`` (N, 3) float64, where a source knows them: the centre of each pair on the WGS84
    ellipsoid, geocentric, in metres. So the distance of two is metres on the ground, whatever the
    projection of the data, as long as it is short against the Earth's radius.

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
    positions: np.ndarray | None = None


# Raw data in archives: called with a folder and whether to be quiet, it keeps there what is needed
# of them and gives the source. It goes on with what an earlier call left; the build removes it.
Packed = Callable[[Path, bool], Source]


def with_kind(card: DatasetCard, kind: str | None) -> DatasetCard:
    """``card`` reading from a source of ``kind`` (one of ``_OWN``). Keys of another kind are left
    behind, but for the rule of the splits."""
    if kind is None or card.source.get("kind") == kind:
        return card
    if kind not in _OWN:
        raise unknown("form of data", kind, _OWN, where="--from")
    kept = {k: v for k, v in card.source.items() if k == "split" or "kind" not in card.source}
    return card.model_copy(update={"source": {**kept, "kind": kind}})


def open_source(card: DatasetCard, source_dir: Path | None = None) -> Source | Packed:
    """The source named by ``card.source["kind"]``; those with raw data read ``source_dir``."""
    kind = str(card.source.get("kind", ""))
    if not kind:
        raise UserError(
            "the card says nothing of where the images come from",
            where=f"{card.name}, source.kind",
            fix=f"--from {' or '.join(_OWN)}, or a [source] table in the card",
        )
    where = f"{card.name}, source.kind"
    if kind not in source_kinds():  # a card may name no code that nobody installed as a source
        raise unknown("source", kind, source_kinds(), where=where)
    opener = import_named(kind, _GROUP, _BUILT_IN, kind="source", where=where)
    source: Source | Packed = opener(card, source_dir)
    return source


def source_kinds() -> dict[str, str]:
    """What ``source.kind`` of a card may say, and the function behind it: ours and those that other
    packages install as entry points of ``crbench.sources``."""
    return registered(_GROUP, _BUILT_IN)
