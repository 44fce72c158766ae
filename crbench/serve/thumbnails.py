"""PNG pictures of images: of pairs of a cache, and of an image that was sent."""

from __future__ import annotations

import io
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from crbench.draw.preview import sample_rows
from crbench.draw.render import pictures, usual_limits

if TYPE_CHECKING:
    from crbench.data.cache.reading import Cache

_SAMPLE = 64  # pairs of the cache by which pictures are balanced
_KEPT = 2000  # pictures kept in memory, of some KB each


class Thumbnails:
    """Draws images of ``cache`` one at a time, all balanced by the same sample of it."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        rows = sample_rows(cache, _SAMPLE)
        self._usual: Mapping[str, tuple[np.ndarray, np.ndarray]] = {
            m: usual_limits(cache.images(m)[rows], cache.card.modality(m)) for m in ("a", "b")
        }
        self.png = lru_cache(maxsize=_KEPT)(self._png)

    def etag(self, modality: str, row: int) -> str:
        """Names a picture of this cache and of no other one."""
        return f'"{self.cache.digest[:16]}-{modality}{row}"'

    def _png(self, modality: str, row: int) -> bytes:
        return self._drawn(self.cache.images(modality)[row], modality)

    def of_image(self, pixels: np.ndarray, modality: str) -> bytes | None:
        """An image (C, H, W) in the bands in use; None where it lacks a band that is shown."""
        card = self.cache.card.modality(modality)
        if not set(card.display) <= set(card.used):
            return None
        stored = np.zeros((len(card.bands), *pixels.shape[1:]), pixels.dtype)
        stored[[card.bands.index(band) for band in card.used]] = pixels
        return self._drawn(stored, modality)

    def _drawn(self, image: np.ndarray, modality: str) -> bytes:
        from PIL import Image

        card = self.cache.card.modality(modality)
        drawn = pictures(image[None], card, self._usual[modality])[0]
        file = io.BytesIO()
        Image.fromarray(np.rint(255 * drawn).astype(np.uint8)).save(file, "PNG")
        return file.getvalue()
