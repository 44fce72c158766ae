"""Landsat-7 ETM+ scenes of the FuseBox collection: PAN (a) and six MS bands (b) of one place.

Raw: ``cropped/<i>_pan.mat`` key ``cropped_gray`` (800, 800) uint8 at 15 m and ``<i>_ms.mat`` key
``cropped_im`` (400, 400, 6) uint8 at 30 m. A scene is cut into 12 × 12 tiles, and its quadrants
are kept apart, so that train, query and gallery are different ground of the same scenes.
"""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from crbench.cards import DatasetCard, Strict, parse
from crbench.data.sources import Block, Source
from crbench.data.sources.raw import damage_named, file_fingerprint, find_folder, split_by_hash
from crbench.errors import UserError

_GRID = 12  # tiles along a scene's side
_QUADRANTS = {("N", "W"): "train", ("S", "E"): "train", ("N", "E"): "query", ("S", "W"): "gallery"}
_IMAGES = {"pan": ("cropped_gray", (800, 800)), "ms": ("cropped_im", (400, 400, 6))}


class _LandsatTable(Strict):
    """``[source]``: the folder's usual name, and the seeded share of train kept for val."""

    kind: str
    folder: str
    seed: int
    val_share: float = Field(ge=0, lt=1)


def open_landsat7(card: DatasetCard, source_dir: Path | None) -> Source:
    """Tiles of all scenes, scene by scene, row by row; ids as ``scene03_r05_c11``, from 0 on."""
    table = parse(_LandsatTable, card.source, where=f"{card.name}, [source]")
    folder = find_folder(card, source_dir, table.folder, "cropped/*_pan.mat") / "cropped"
    matches = (re.fullmatch(r"(\d+)_pan\.mat", path.name) for path in folder.glob("*_pan.mat"))
    numbers = sorted(int(match[1]) for match in matches if match)
    if len(numbers) != len(card.labels.classes):
        raise UserError(
            f"{len(numbers)} scenes are there, the card names {len(card.labels.classes)}",
            where=folder,
            fix="complete the folder: <i>_pan.mat and <i>_ms.mat for every scene",
        )
    tiles = [(k, r, c) for k in range(len(numbers)) for r in range(_GRID) for c in range(_GRID)]
    ids = [f"scene{numbers[k]:02d}_r{r:02d}_c{c:02d}" for k, r, c in tiles]
    half = _GRID // 2
    split = [_QUADRANTS["N" if r < half else "S", "W" if c < half else "E"] for _, r, c in tiles]
    shares = {"val": table.val_share, "train": 1 - table.val_share}
    train = [name for name, part in zip(ids, split, strict=True) if part == "train"]
    parts = split_by_hash(train, shares, table.seed)
    files = [folder / f"{number}_{which}.mat" for number in numbers for which in _IMAGES]
    if absent := [path for path in files if not path.is_file()]:
        what = "a file of a scene is missing"
        raise UserError(what, where=absent[0], fix="complete the folder")

    @lru_cache(maxsize=2)
    def scene(k: int) -> tuple[np.ndarray, np.ndarray]:
        pan = _load(folder / f"{numbers[k]}_pan.mat", "pan")[None]
        ms = _load(folder / f"{numbers[k]}_ms.mat", "ms").transpose(2, 0, 1)
        return pan, ms

    def read(start: int, stop: int) -> Block:
        rows = tiles[start:stop]
        a = np.stack([_tile(scene(k)[0], r, c, card.a.size) for k, r, c in rows])
        b = np.stack([_tile(scene(k)[1], r, c, card.b.size) for k, r, c in rows])
        return Block(a, b, np.array([k for k, _, _ in rows], dtype=np.int64))

    return Source(
        ids=ids,
        split=[parts.get(name, part) for name, part in zip(ids, split, strict=True)],
        read=read,
        description=f"{len(numbers)} Landsat-7 scenes of FuseBox, {_GRID} × {_GRID} tiles each",
        fingerprint=f"landsat7 1 {file_fingerprint(files)}",
        rows_per_block=_GRID * _GRID,
        groups=[f"scene{numbers[k]:02d}" for k, _, _ in tiles],
    )


def _load(path: Path, which: str) -> np.ndarray:
    """The image of a .mat file, checked for key, shape and dtype."""
    from scipy.io import loadmat

    key, shape = _IMAGES[which]
    with damage_named("not a readable .mat file", path, Exception):  # scipy raises many kinds
        content: dict[str, Any] = loadmat(path, variable_names=[key])
    image = content.get(key)
    if image is None or image.shape != shape or image.dtype != np.uint8:
        have = "is missing" if image is None else f"is {image.dtype} {image.shape}"
        raise UserError(f"'{key}' {have}, expected uint8 {shape}", where=path)
    return np.asarray(image)


def _tile(image: np.ndarray, row: int, column: int, size: tuple[int, int]) -> np.ndarray:
    """Tile (C, H, W) of an image (C, rows, columns), counted from the upper left corner."""
    height, width = size
    top, left = row * height, column * width
    return image[:, top : top + height, left : left + width]
