"""One image from one file: sixteen bits."""

from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from crbench.errors import UserError


def test_sixteen_bits_are_kept_or_refused(data: ModuleType, tmp_path: Path) -> None:
    from crbench.data.sources.user.images import opened_image

    def load(path: Path) -> np.ndarray:
        with opened_image(path) as image:
            return image.read()

    grey = np.arange(0, 65536, 256, dtype=np.uint16).reshape(1, 16, 16)
    data.write_image(tmp_path / "grey.png", grey)
    np.testing.assert_array_equal(load(tmp_path / "grey.png"), grey)
    colour = tmp_path / "colour.png"  # Pillow cannot write 16-bit colour; GDAL can
    import rasterio

    with rasterio.open(
        colour, "w", driver="PNG", count=3, height=16, width=16, dtype="uint16"
    ) as file:
        file.write(np.repeat(grey, 3, axis=0))
    with pytest.raises(UserError, match="16 bits"):
        load(colour)
