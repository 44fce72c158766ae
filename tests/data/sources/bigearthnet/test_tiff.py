"""Bands of another ground size come to one, as other libraries do it."""

from pathlib import Path
from types import ModuleType

import numpy as np
import rasterio
import scipy.ndimage
from rasterio.enums import Resampling

from crbench.data.sources.bigearthnet import tiff


def test_resampling_agrees_with_scipy_and_gdal(data: ModuleType, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    for side, factor in ((60, 2), (20, 6)):
        pixels = rng.integers(0, 2**16, (side, side), dtype=np.uint16)
        ours = tiff.to_common_size(pixels[None], (120, 120))[0]
        assert ours.dtype == np.uint16
        zoomed = scipy.ndimage.zoom(
            pixels.astype(np.float64), factor, order=1, mode="nearest", grid_mode=True
        )
        assert np.abs(ours - zoomed).max() <= 0.5 + 1e-6
        with rasterio.MemoryFile(data.geotiff(pixels)) as memory, memory.open() as file:
            gdal = file.read(1, out_shape=(120, 120), resampling=Resampling.bilinear)
        assert np.abs(ours.astype(int) - gdal).max() <= 1  # GDAL rounds halves up
        assert (ours == gdal).mean() > 0.95
