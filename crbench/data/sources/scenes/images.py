"""One image of a scene: PNG, JPEG, GeoTIFF, NumPy or MATLAB, at its size or a whole multiple."""

from __future__ import annotations

import re
from glob import escape
from pathlib import Path
from typing import Any

import numpy as np

from crbench.cards import ModalityCard
from crbench.data.sources.raw import damage_named, other_than_card
from crbench.data.sources.scenes.ground import Extent
from crbench.data.sources.user.images import LOADERS, arranged, fits, opened_image, room
from crbench.errors import UserError

_MOST = 8  # an image may be this many times as fine as the scene along each side
SCENE = "{scene}"  # stands for a scene's name in a pattern of files


def scene_names(folder: Path, pattern: str) -> list[str]:
    """What stands for ``{scene}`` in the files that fit ``pattern``, by number where all are."""
    before, _, after = pattern.partition(SCENE)
    form = re.compile(re.escape(before) + "([^/]+)" + re.escape(after))
    files = (
        p.relative_to(folder).as_posix() for p in folder.glob(f"{escape(before)}*{escape(after)}")
    )
    names = sorted(match[1] for name in files if (match := form.fullmatch(name)))
    return sorted(names, key=int) if all(name.isdecimal() for name in names) else names


def read_scene(path: Path, modality: ModalityCard, key: str = "") -> np.ndarray:
    """The image (C, H, W) of a scene in the card's dtype; ``modality`` has the scene's size.

    An image k times as large along both sides is averaged over k × k pixels (and rounded, to a
    whole dtype). Another dtype is taken where every value survives it. ``key`` names the array of
    a .mat file. UserError for what does not fit or cannot be read.
    """
    if path.suffix.lower() == ".mat":
        pixels = _from_mat(path, key)
        image = arranged(pixels, modality) if fits(pixels.shape, modality) else pixels
    else:
        image = _from_picture(path, modality)
    factor = image.shape[-1] // modality.size[1] if image.ndim == 3 else 0
    whole = (len(modality.bands), factor * modality.size[0], factor * modality.size[1])
    if image.shape != whole or not 1 <= factor <= _MOST:
        fix = "correct the card's bands or the size of its scenes, or mend the file"
        raise other_than_card("the image", image, modality, where=path, fix=fix)
    dtype = np.dtype(modality.dtype)
    if factor > 1:
        blocks = image.reshape(whole[0], modality.size[0], factor, modality.size[1], factor)
        image = blocks.mean((2, 4), dtype=np.float64)
        return (np.rint(image) if dtype.kind in "iu" else image).astype(dtype)
    cast = image.astype(dtype)
    if cast.dtype != image.dtype and not np.array_equal(cast.astype(image.dtype), image):
        why = f", with values that {dtype} does not hold"
        raise other_than_card("the image", image, modality, where=path, why=why)
    return cast


def scene_extent(path: Path, modality: ModalityCard) -> Extent | None:
    """Where a GeoTIFF says that it lies; None of other files."""
    if path.suffix.lower() not in (".tif", ".tiff"):
        return None
    with opened_image(path, most=_room(modality)) as image:
        return image.extent


def _room(modality: ModalityCard) -> int:
    height, width = modality.size
    finest = modality.model_copy(update={"size": (2 * height, 2 * width), "dtype": "float64"})
    return room(finest)


def _from_picture(path: Path, modality: ModalityCard) -> np.ndarray:
    if path.suffix.lower() not in LOADERS:
        kinds = ", ".join([*LOADERS, ".mat"])
        raise UserError(f"'{path.suffix}' is no kind of image", where=path, fix=f"give {kinds}")
    with opened_image(path, most=_room(modality)) as image:
        pixels = image.read()
    spatial = [side for side in pixels.shape if side not in (len(modality.bands), 3)]
    factor = max(spatial, default=0) // max(modality.size)
    size = factor * modality.size[0], factor * modality.size[1]
    finer = modality.model_copy(update={"size": size})
    return arranged(pixels, finer) if factor and fits(pixels.shape, finer) else pixels


def _from_mat(path: Path, key: str) -> np.ndarray:
    from scipy.io import loadmat

    if not path.is_file():
        raise UserError("no such file", where=path, fix="check the path")
    with damage_named("not a readable .mat file", path, Exception):  # scipy raises many kinds
        content: dict[str, Any] = loadmat(path, variable_names=[key])
    if key not in content:
        raise UserError(f"'{key}' is missing", where=path, fix="name the array by the card's key")
    return np.asarray(content[key])
