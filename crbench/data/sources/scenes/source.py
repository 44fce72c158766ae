"""Scenes of two sensors that show the same ground, cut into a grid of tiles.

A table of scenes (CSV) names them, in its column ``scene``, and may say their ``split``, where they
lie (``x_min``, ``y_min``, ``x_max``, ``y_max`` in the card's ``crs``) and when ``b`` was taken
(``date_b``); without one the scenes are the files that fit the card's patterns. GeoTIFFs say
themselves where they lie. Tiles are cut from the upper left corner, row by row; what is left over
at the right and the bottom is not used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from crbench.cards import DatasetCard, ModalityCard, parse
from crbench.data.sources import Block, Source
from crbench.data.sources.raw import counted, file_fingerprint, find_folder, split_by_hash
from crbench.data.sources.scenes.ground import Extent, tile_ground, too_close
from crbench.data.sources.scenes.images import SCENE, read_scene, scene_extent, scene_names
from crbench.data.sources.scenes.table import (
    CORNERS,
    ClassRaster,
    SceneImages,
    ScenesTable,
    scene_lines,
)
from crbench.errors import UserError


@dataclass(frozen=True)
class _Scene:
    """A scene: what stands for it in file names, what it is called, its line of the table."""

    token: str
    name: str
    line: dict[str, str]


@dataclass(frozen=True)
class _Tile:
    """Tile ``row``, ``column`` of the grid of the scene with number ``scene``."""

    scene: int
    row: int
    column: int


def open_scenes(card: DatasetCard, source_dir: Path | None) -> Source:
    """Tiles of all scenes, scene by scene, row by row; ids as ``scene03_r05_c11``, from 0 on."""
    table = parse(ScenesTable, card.source, where=f"{card.name}, [source]")
    folder = find_folder(card, source_dir, table.folder, table.a.file.replace(SCENE, "*"))
    scenes = _scenes(card, table, folder)
    grid = _grid(card, table)
    tiles = [_Tile(k, r, c) for k in range(len(scenes)) for r in range(grid[0])
             for c in range(grid[1])]  # fmt: skip
    ids = [f"{scenes[t.scene].name}_r{t.row:02d}_c{t.column:02d}" for t in tiles]
    split = _split(card, table, scenes, tiles, ids, grid)
    extents = [_extent(card, table, folder, scene) for scene in scenes]
    positions, notes = None, []
    if all(extent is not None for extent in extents):
        positions, reach = _ground(extents, tiles, table, card, folder)
        if table.margin_m is not None:
            dropped = too_close(positions, reach, split, _ranks(card, split), table.margin_m)
            notes = _dropped_note(split, dropped, table.margin_m)
            kept = np.flatnonzero(~dropped)
            tiles, positions = [tiles[i] for i in kept], positions[kept]
            ids, split = ([texts[i] for i in kept] for texts in (ids, split))
    elif table.margin_m is not None:
        raise UserError(
            "margin_m needs to know where the scenes lie",
            where=f"{card.name}, source.margin_m",
            fix=f"give the table of scenes {', '.join(CORNERS)}, and the card their crs",
        )
    files = [folder / images.file.replace(SCENE, scene.token)
             for scene in scenes for images in _all_images(table)]  # fmt: skip
    if absent := [path for path in files if not path.is_file()]:
        what = f"a file of a scene is missing ({len(absent)} of {len(files)})"
        raise UserError(what, where=absent[0], fix="complete the folder")
    return Source(
        ids=ids,
        split=split,
        read=_reader(card, table, folder, scenes, tiles),
        description=f"{len(scenes)} scenes, {grid[0]} × {grid[1]} tiles each: {card.title}",
        fingerprint=f"scenes 1 {file_fingerprint(files)}",
        rows_per_block=grid[0] * grid[1],
        notes=notes,
        groups=[_group(scenes[tile.scene]) for tile in tiles],
        positions=positions,
    )


def _all_images(table: ScenesTable) -> list[SceneImages]:
    return [table.a, table.b, *([table.labels] if table.labels else [])]


def _group(scene: _Scene) -> str:
    date = scene.line.get("date_b", "")
    return f"{scene.name}/{date}" if date else scene.name


def _scenes(card: DatasetCard, table: ScenesTable, folder: Path) -> list[_Scene]:
    """The scenes of the table, or those whose files are there; as many as a card of scenes says."""
    lines: list[dict[str, str]] = []
    if table.table:
        lines = scene_lines(card, table, folder)
        tokens = [line["scene"] for line in lines]
    else:
        tokens = scene_names(folder, table.a.file)
    classes = card.labels.classes
    if card.labels.kind == "single" and table.labels is None and len(tokens) != len(classes):
        raise UserError(
            f"{len(tokens)} scenes are there, the card names {len(classes)}",
            where=folder,
            fix="complete the folder: every scene of both sensors, or correct the card's classes",
        )
    width = max(2, *map(len, tokens)) if all(t.isdecimal() for t in tokens) else 0
    names = [table.prefix + token.zfill(width) for token in tokens]
    lines = lines or [{} for _ in tokens]
    return [_Scene(*parts) for parts in zip(tokens, names, lines, strict=True)]


def _grid(card: DatasetCard, table: ScenesTable) -> tuple[int, int]:
    """Rows and columns of tiles, the same for both sensors."""
    grids = {}
    for which, images in (("a", table.a), ("b", table.b)):
        tile = card.modality(which).size
        steps = [table.stride * side for side in tile]
        if any(step != int(step) for step in steps):
            raise UserError(
                f"a stride of {table.stride} tiles is no whole number of pixels of {which}",
                where=f"{card.name}, source.stride",
                fix="choose one that is",
            )
        rows, columns = (
            int((whole - side) // step) + 1 if whole >= side else 0
            for whole, side, step in zip(images.size, tile, steps, strict=True)
        )
        grids[which] = rows, columns
    if grids["a"] != grids["b"] or not all(grids["a"]):
        listed = ", ".join(
            f"{which} {rows} × {columns}" for which, (rows, columns) in grids.items()
        )
        raise UserError(
            f"the sensors have different grids of tiles, or none: {listed}",
            where=f"{card.name}, [source.a] and [source.b]",
            fix="sizes of scenes and of tiles must be in the same proportion for both",
        )
    return grids["a"][0], grids["a"][1]


def _split(
    card: DatasetCard,
    table: ScenesTable,
    scenes: Sequence[_Scene],
    tiles: Sequence[_Tile],
    ids: Sequence[str],
    grid: tuple[int, int],
) -> list[str]:
    rule = table.split
    if rule.by == "quadrant":
        half = grid[0] / 2, grid[1] / 2
        split = [
            rule.quadrants[("N" if t.row < half[0] else "S") + ("W" if t.column < half[1] else "E")]  # type: ignore[index]
            for t in tiles
        ]
    else:
        names = [scene.name for scene in scenes]
        of_scene = (
            {scene.name: scene.line["split"] for scene in scenes}
            if rule.by == "table" and table.table
            else split_by_hash(names, rule.shares, rule.seed)
        )
        split = [of_scene[names[tile.scene]] for tile in tiles]
    if rule.val_share:
        train = [name for name, part in zip(ids, split, strict=True) if part == "train"]
        shares = {"val": rule.val_share, "train": 1 - rule.val_share}
        parts = split_by_hash(train, shares, rule.seed)
        split = [parts.get(name, part) for name, part in zip(ids, split, strict=True)]
    return split


def _extent(card: DatasetCard, table: ScenesTable, folder: Path, scene: _Scene) -> Extent | None:
    """Where a scene lies: as the table of scenes says, else as its image of a does."""
    if not table.crs:
        images = table.a
        path = folder / images.file.replace(SCENE, scene.token)
        return scene_extent(path, _sized(card.a, images)) if path.is_file() else None
    try:
        left, bottom, right, top = (float(scene.line[key]) for key in CORNERS)
    except (KeyError, ValueError) as error:
        what = f"the corners of scene '{scene.token}' are no numbers ({error})"
        raise UserError(what, where=f"{card.name}, source.table") from error
    return table.crs, (left, bottom, right, top)


def _ground(
    extents: Sequence[Extent | None],
    tiles: Sequence[_Tile],
    table: ScenesTable,
    card: DatasetCard,
    folder: Path,
) -> tuple[np.ndarray, np.ndarray]:
    """Centres (N, 3) of all tiles in geocentric metres and half their diagonals (N,)."""
    side = np.array(card.a.size) / np.array(table.a.size)
    parts = []
    for k, extent in enumerate(extents):
        assert extent is not None
        start = np.array([(t.row, t.column) for t in tiles if t.scene == k]) * side * table.stride
        parts.append(tile_ground(extent, np.hstack([start, start + side]), folder))
    centres, reach = zip(*parts, strict=True)
    return np.concatenate(centres), np.concatenate(reach)


def _ranks(card: DatasetCard, split: Sequence[str]) -> dict[str, int]:
    """Who keeps its tiles where two splits touch: training yields to ``val``, both to the rest."""
    return {
        name: 0 if name in card.train_splits else 1 if name == "val" else 2 for name in set(split)
    }


def _dropped_note(split: Sequence[str], dropped: np.ndarray, margin: float) -> list[str]:
    names, counts = np.unique(np.array(split)[dropped], return_counts=True)
    if not len(names):
        return []
    total = counted(dict(zip(names.tolist(), counts.tolist(), strict=True)))
    return [f"tiles dropped, within {margin:g} m of another split's: {total}"]


def _sized(modality: ModalityCard, images: SceneImages) -> ModalityCard:
    """The card of a whole scene."""
    return modality.model_copy(update={"size": images.size})


def _reader(
    card: DatasetCard,
    table: ScenesTable,
    folder: Path,
    scenes: Sequence[_Scene],
    tiles: Sequence[_Tile],
) -> Callable[[int, int], Block]:
    kinds = {"a": (card.a, table.a), "b": (card.b, table.b)}
    if table.labels is not None:
        raster = card.a.model_copy(
            update={"name": "the class raster", "bands": ["class"], "dtype": "int64",
                    "display": ["class"], "use": None, "mean": None, "std": None}
        )  # fmt: skip
        kinds["labels"] = raster, table.labels

    @lru_cache(maxsize=2)
    def images(scene: int) -> dict[str, np.ndarray]:
        return {
            which: read_scene(
                folder / source.file.replace(SCENE, scenes[scene].token),
                _sized(modality, source),
                source.key,
            )
            for which, (modality, source) in kinds.items()
        }

    def cut(which: str, tile: _Tile) -> np.ndarray:
        whole, (modality, source) = images(tile.scene)[which], kinds[which]
        height, width = (
            side * full // of
            for side, full, of in zip(card.a.size, source.size, table.a.size, strict=True)
        ) if which == "labels" else modality.size  # fmt: skip
        top, left = int(tile.row * table.stride * height), int(tile.column * table.stride * width)
        return whole[:, top : top + height, left : left + width]

    def read(start: int, stop: int) -> Block:
        rows = tiles[start:stop]
        a, b = (np.stack([cut(which, tile) for tile in rows]) for which in ("a", "b"))
        labels = None
        if table.labels is not None:
            rasters = [cut("labels", tile)[0] for tile in rows]
            labels = np.stack([_classes(card, table.labels, raster) for raster in rasters])
        elif card.labels.kind == "single":
            labels = np.array([tile.scene for tile in rows], dtype=np.int64)
        return Block(a, b, labels)

    return read


def _classes(card: DatasetCard, rule: ClassRaster, raster: np.ndarray) -> np.ndarray:
    """The classes of a tile from its pixels: multi-hot uint8 (C,), or the largest, int64 ()."""
    shares = np.array([(raster == value).mean() for value in rule.values])
    if card.labels.kind == "single":
        return np.asarray(shares.argmax(), dtype=np.int64)
    return (shares >= rule.least_share).astype(np.uint8)
