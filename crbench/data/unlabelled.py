"""Images without labels, splits or partners: a folder of files, or one side of a cache.

They are read as the card of one modality says, in the bands that a model sees, and never cast.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crbench.cards import ModalityCard
from crbench.data.cache.reading import open_cache, other_facts
from crbench.data.pairs import band_tensors, normalise
from crbench.data.query_image import check_bands_used, read_query
from crbench.data.sources.user.image_folders import files_by_key
from crbench.data.sources.user.images import LOADERS
from crbench.errors import UserError


@dataclass(frozen=True)
class UnlabelledImages:
    """``ids`` (N,) str and ``read(positions)``: native pixels (n, C, H, W) in the bands in use."""

    ids: np.ndarray
    read: Callable[[np.ndarray], np.ndarray]

    def __len__(self) -> int:
        return len(self.ids)


def image_folder(folder: Path, modality: ModalityCard) -> UnlabelledImages:
    """The PNG, JPEG, GeoTIFF, .npy and .npz files under ``folder``; ids are their names without
    the ending, behind their subfolder if they lie in one.

    Each is read by :func:`crbench.data.query_image.read_query`: a file of another size or type, and
    one that lacks a band, is a UserError when it is read.
    """
    files = files_by_key(folder, "", "")
    if not files:
        raise UserError("there is no image in this folder", where=folder,
                        fix=f"images are files that end in {', '.join(LOADERS)}")  # fmt: skip
    paths = list(files.values())
    return UnlabelledImages(
        np.array(list(files)), lambda at: np.stack([read_query(paths[i], modality) for i in at])
    )


def cached_images(path: Path, which: str, modality: ModalityCard) -> UnlabelledImages:
    """All images of modality ``which`` of a cache, of whatever split, in the bands of ``modality``.

    A cache that lacks a band or has another size, type or unit is a UserError.
    """
    cache = open_cache(path)
    stored = cache.card.modality(which)
    check_bands_used(modality, stored.bands, where=path)
    if facts := other_facts(stored, modality):
        raise UserError(f"modality {which} does not fit the run: {'; '.join(facts)}", where=path)
    positions = [stored.bands.index(band) for band in modality.used]
    return UnlabelledImages(cache.ids, lambda at: cache.images(which)[at][:, positions])


class Normalised:
    """``images`` as a model of a run takes them: z-scored by ``mean`` and ``std`` (C,) per band and
    resized to ``image_size`` pixels square, like a batch of :class:`crbench.data.pairs.Pairs`."""

    def __init__(
        self,
        images: UnlabelledImages,
        statistics: dict[str, Any],
        image_size: int,
        device: torch.device,
    ) -> None:
        self.source, self.image_size, self.device = images, image_size, device
        self.mean, self.std = band_tensors(statistics, device)

    def __len__(self) -> int:
        return len(self.source)

    def images(self, modality: str, positions: np.ndarray) -> Tensor:
        """Images (B, C, S, S) float32 at ``positions``, of the one modality that there is."""
        native = self.source.read(positions).astype(np.float32)
        if (bad := ~np.isfinite(native).all(axis=(1, 2, 3))).any():
            where = self.source.ids[positions[bad][0]]
            raise UserError("an image holds NaN or infinite values", where=where)
        pixels = torch.from_numpy(native).to(self.device)
        return normalise(pixels, self.mean, self.std, self.image_size)
