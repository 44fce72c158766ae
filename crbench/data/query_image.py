"""One image from outside a dataset, as a model of a run takes it: a query, or one to be embedded.

The one entry for files of strangers; what a file may do is bounded in
:mod:`crbench.data.sources.user.images`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from crbench.cards import ModalityCard
from crbench.data.sources.raw import some
from crbench.data.sources.user.images import (
    LOADERS,
    checked_pixels,
    opened_image,
    room,
)
from crbench.errors import UserError

ENDINGS = tuple(LOADERS)  # ".png", …: files that can be queries


def read_query(path: Path, modality: ModalityCard, data: bytes | None = None) -> np.ndarray:
    """The image at ``path`` in the bands in use (``modality.used``), (C, H, W) in the card's dtype.

    A GeoTIFF whose bands are described is read by their names, in any order and with others beside
    them; other files hold the card's bands in the card's order. Nothing is resized or cast: a file
    of another size or type, one that lacks a band, and one that is no image, is a UserError.
    ``data`` are the file's bytes where they are in memory already; the path is then only a name.
    """
    if path.suffix.lower() not in LOADERS:
        raise UserError(
            f"'{path.suffix or path.name}' is no ending of an image that is read here",
            where=path,
            fix=f"give a file that ends in {', '.join(ENDINGS)}",
        )
    with opened_image(path, data, most=room(modality)) as image:
        names, wanted = list(image.names), modality
        if names:
            check_bands_used(modality, names, where=path)
            if len(names) != len(modality.bands) and image.nbytes > room(modality):
                raise UserError(
                    f"its {len(names):,} bands take {image.nbytes:,} bytes, an image at most "
                    f"{room(modality):,}",
                    where=path,
                    fix=f"keep the bands {', '.join(modality.used)}",
                )
            wanted = modality.model_copy(update={"bands": names})
        height, width = modality.size
        fix = (
            f"give {len(modality.bands)} bands of {height}×{width} pixels as {modality.dtype}, in "
            f"{modality.units}; nothing is resized or cast here"
        )
        pixels = checked_pixels(image, wanted, where=path, fix=fix)
    return pixels[[(names or modality.bands).index(band) for band in modality.used]]


def check_bands_used(modality: ModalityCard, names: Sequence[str], *, where: object) -> None:
    """UserError where a band that a model sees is not among ``names``."""
    if missing := [band for band in modality.used if band not in names]:
        raise UserError(
            f"{modality.name} needs the bands {', '.join(missing)}, the file has {some(names, 30)}",
            where=where,
            fix="add the missing bands, or train on the others: --bands",
        )
