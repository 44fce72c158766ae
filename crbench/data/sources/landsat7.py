"""``kind = "landsat7"``: how cards named the scenes of FuseBox before there was ``scenes``.

Caches, records and cards of that time still open and build: their table says the same in other
words.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from crbench.cards import DatasetCard, Strict, parse
from crbench.data.sources import Source
from crbench.data.sources.scenes.source import open_scenes

_QUADRANTS = {"NW": "train", "NE": "query", "SW": "gallery", "SE": "train"}
_FILES: dict[str, Any] = {
    "a": {"file": "cropped/{scene}_pan.mat", "key": "cropped_gray", "size": [800, 800]},
    "b": {"file": "cropped/{scene}_ms.mat", "key": "cropped_im", "size": [400, 400]},
}


class _LandsatTable(Strict):
    """``[source]``: the folder's usual name, and the seeded share of train kept for val."""

    kind: str
    folder: str
    seed: int
    val_share: float = Field(ge=0, lt=1)


def as_scenes(card: DatasetCard) -> DatasetCard:
    """``card`` with a source of kind ``scenes`` where it has one of kind ``landsat7``, which gives
    the same pairs; any other card as it is."""
    if card.source.get("kind") != "landsat7":
        return card
    table = parse(_LandsatTable, card.source, where=f"{card.name}, [source]")
    split = {"by": "quadrant", "quadrants": _QUADRANTS, "val_share": table.val_share}
    source = {"kind": "scenes", "folder": table.folder, "prefix": "scene", **_FILES}
    source["split"] = {**split, "seed": table.seed}
    return card.model_copy(update={"source": source})


def open_landsat7(card: DatasetCard, source_dir: Path | None) -> Source:
    """Tiles of all scenes, as ``open_scenes`` gives them."""
    return open_scenes(as_scenes(card), source_dir)
