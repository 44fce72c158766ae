"""What a card says of its scenes (``[source]``), and the table of scenes beside it."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Literal

from pydantic import Field, PositiveFloat, model_validator

from crbench.cards import DatasetCard, Strict, card_folder
from crbench.data.sources.scenes.images import SCENE
from crbench.errors import UserError

CORNERS = ("x_min", "y_min", "x_max", "y_max")
_LEAST_SHARE = 0.05


class SceneImages(Strict):
    """``[source.a]``, ``[source.b]``: files of a sensor and the size (H, W) of its scenes."""

    file: str  # inside the folder, with {scene} for the scene's name, e.g. "sar/{scene}.png"
    size: tuple[int, int]
    key: str = ""  # of the array in a .mat file

    @model_validator(mode="after")
    def _pattern(self) -> SceneImages:
        if self.file.count(SCENE) != 1 or self.file.startswith("/") or ".." in self.file:
            raise ValueError(f"'{self.file}' is no pattern: a path in the folder with {SCENE} once")
        return self


class ClassRaster(SceneImages):
    """``[source.labels]``: a class of every pixel, as ``values`` of the card's classes in order.

    A tile carries the classes that cover ``least_share`` of it; one class a tile where the card's
    labels are single: that which covers most.
    """

    values: list[int]
    least_share: float = Field(default=_LEAST_SHARE, gt=0, le=1)


class _Splits(Strict):
    """``[source.split]``: by the ``table`` of scenes, by whole ``scene`` (``shares``, by hash of
    the name), or by ``quadrant`` of each scene (``quadrants``: NW, NE, SW, SE → split).
    ``val_share`` of the tiles in ``train`` become ``val``, by hash of the id."""

    by: Literal["table", "scene", "quadrant"]
    shares: dict[str, PositiveFloat] = Field(default_factory=dict)
    quadrants: dict[Literal["NW", "NE", "SW", "SE"], str] = Field(default_factory=dict)
    val_share: float = Field(default=0.0, ge=0, lt=1)
    seed: int = 0

    @model_validator(mode="after")
    def _complete(self) -> _Splits:
        if self.by == "scene" and abs(sum(self.shares.values()) - 1) > 1e-9:
            raise ValueError("split.shares do not sum to 1")
        if self.by == "quadrant" and len(self.quadrants) != 4:
            raise ValueError("split.quadrants names NW, NE, SW and SE")
        return self


class ScenesTable(Strict):
    """``[source]`` of kind ``scenes``.

    ``folder``: usual name of the folder of the raw data. ``table``: the CSV of scenes, in that
    folder or shipped with the card. ``prefix`` comes before a scene's name in ids and groups.
    ``stride``: distance of tiles in tiles, 1: side by side. ``margin_m``: tiles that come this
    close to a tile of another split are dropped, from ``train`` first, then from ``val``.
    """

    kind: str
    folder: str = ""
    table: str = ""
    crs: str = ""
    prefix: str = ""
    stride: PositiveFloat = 1.0
    margin_m: float | None = Field(default=None, ge=0)
    a: SceneImages
    b: SceneImages
    labels: ClassRaster | None = None
    split: _Splits

    @model_validator(mode="after")
    def _agree(self) -> ScenesTable:
        if not self.table and (self.split.by == "table" or self.crs):
            raise ValueError("split.by = 'table' and crs are about a table of scenes: name it")
        return self


def scene_lines(card: DatasetCard, table: ScenesTable, folder: Path) -> list[dict[str, str]]:
    shipped = card_folder("datasets") / card.name / table.table
    path = shipped if shipped.is_file() else folder / table.table
    if not path.is_file():
        raise UserError("no such table of scenes", where=path, fix="correct source.table")
    try:
        with path.open(encoding="utf-8-sig", newline="") as handle:
            lines = [dict(line) for line in csv.DictReader(handle, strict=True)]
    except (csv.Error, UnicodeDecodeError) as error:
        raise UserError(f"not a CSV file ({error})", where=path, fix="correct the line") from error
    need = ["scene", *(["split"] if table.split.by == "table" else [])]
    need += CORNERS if table.crs else ()
    for number, line in enumerate(lines, 2):
        if bad := [key for key in need if not line.get(key)]:
            raise UserError(f"no {bad[0]}", where=f"{path}, line {number}", fix="add the column")
        if not set(line["scene"]).isdisjoint("/\\\0"):
            raise UserError(f"'{line['scene']}' is no name of a scene", where=path)
    doubled = [name for name in {line["scene"] for line in lines}
               if sum(line["scene"] == name for line in lines) > 1]  # fmt: skip
    if doubled or not lines:
        what = f"the scene '{min(doubled)}' stands twice" if doubled else "it names no scene"
        raise UserError(what, where=path, fix="give each scene one line")
    return lines
