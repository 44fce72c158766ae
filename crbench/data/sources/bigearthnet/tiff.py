"""Bands of BigEarthNet from GeoTIFF bytes: native values, and one size for all of a modality."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from crbench.cards import ModalityCard
from crbench.data.sources.raw import damage_named, shape_in_words
from crbench.errors import UserError

# Sides of a modality's image over those of a band: 10, 20 and 60 m ground in one patch.
FACTORS = {
    **dict.fromkeys(("VV", "VH", "B02", "B03", "B04", "B08"), 1),
    **dict.fromkeys(("B05", "B06", "B07", "B8A", "B11", "B12"), 2),
    **dict.fromkeys(("B01", "B09"), 6),
}
RESAMPLING = (
    "20 m and 60 m bands: bilinear, half-pixel centres, edges held "
    "(torch.nn.functional.interpolate, align_corners=False, float64), rounded half to even"
)


@contextmanager
def reading() -> Iterator[None]:
    """What GDAL needs to know while bands are read: files in memory have no neighbours, and
    patches without georeference are fine."""
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN="EMPTY_DIR", GDAL_PAM_ENABLED="NO"):
            yield


def band(raw: bytes, name: str, modality: ModalityCard, *, where: str) -> np.ndarray:
    """The only layer of a GeoTIFF at its native size, (H, W) of the modality's dtype.

    A file that is damaged, or whose size, type or number of
    layers is another one, is a UserError: values are never cast.
    """
    import rasterio
    from rasterio.errors import RasterioError

    with (
        damage_named("not a readable GeoTIFF", where, RasterioError, ValueError, IndexError),
        rasterio.MemoryFile(raw) as memory,
        memory.open(driver="GTiff") as file,
    ):
        layers, kind, shape = file.count, file.dtypes[0], file.shape
        pixels = file.read(1)
    wanted = tuple(side // FACTORS[name] for side in modality.size)
    if (layers, kind, shape) != (1, modality.dtype, wanted):
        raise UserError(
            f"{name} is {layers} × {kind} {shape}, expected 1 × {modality.dtype} {wanted}",
            where=where,
            fix="take the archives as they are published",
        )
    return np.asarray(pixels)


def stack(raw: bytes, modality: ModalityCard, *, where: str) -> np.ndarray:
    """All layers of a GeoTIFF, (C, H, W), which must be as many, as large and of the type that the
    card says; values are never cast."""
    import rasterio
    from rasterio.errors import RasterioError

    with (
        damage_named("not a readable GeoTIFF", where, RasterioError, ValueError, IndexError),
        rasterio.MemoryFile(raw) as memory,
        memory.open(driver="GTiff") as file,
    ):
        have = (file.count, *file.shape), file.dtypes[0]
        wanted = (len(modality.bands), *modality.size), modality.dtype
        if have != wanted:
            raise UserError(
                f"the patch is {shape_in_words(*have)}, expected {shape_in_words(*wanted)}",
                where=where,
                fix="take the archive as it is passed around",
            )
        return np.asarray(file.read())


def to_common_size(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(n, h, w) → (n, H, W) in the same dtype, as ``RESAMPLING`` says; equal sizes stay as they
    are."""
    if pixels.shape[1:] == tuple(size):
        return pixels
    import torch
    from torch.nn import functional

    images = torch.from_numpy(pixels.astype(np.float64))[:, None]
    large = functional.interpolate(images, tuple(size), mode="bilinear", align_corners=False)
    return np.rint(large[:, 0].numpy()).astype(pixels.dtype)
