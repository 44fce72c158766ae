"""One image from one file: PNG, JPEG, GeoTIFF or NumPy, as (C, H, W) in the values it holds.

Nothing is scaled, cast or guessed: a file whose size, bands or type are not the card's is refused.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from crbench.cards import DatasetCard, ModalityCard
from crbench.data.sources.ben14k.tiff import reading
from crbench.errors import UserError

MODES = ("L", "RGB", "RGBA", "I;16", "I", "F")  # of Pillow: pixels are values, no palette


def read_image(path: Path, modality: ModalityCard) -> np.ndarray:
    """The image at ``path``, (C, H, W), checked against bands, size and dtype of ``modality``.

    Arrays (.npy, .npz) may also lie as (H, W, C), or (H, W) for one band. Where one band is asked
    for and a picture has three equal ones, as grey JPEGs often have, one is taken.
    """
    pixels = arranged(load(path), modality)
    wanted = (len(modality.bands), *modality.size)
    if pixels.shape != wanted or pixels.dtype != np.dtype(modality.dtype):
        raise UserError(
            f"the image is {describe(pixels)}, the card says {modality.name} is "
            f"{_sizes(wanted)} {modality.dtype}",
            where=path,
            fix="correct the card's bands, size or dtype, or mend the file",
        )
    return pixels


def load(path: Path) -> np.ndarray:
    """Whatever image lies in the file: pictures and GeoTIFFs as (C, H, W), arrays as they are.

    A damaged file, a palette picture or an array of Python objects is a UserError.
    """
    try:
        return LOADERS[path.suffix.lower()](path)
    except UserError:
        raise
    except Exception as error:  # a damaged file makes each library raise kinds of its own
        text = (str(error).splitlines() or [type(error).__name__])[0]
        raise UserError(
            f"not a readable image ({text})", where=path, fix="get the file again"
        ) from error


def arranged(pixels: np.ndarray, modality: ModalityCard) -> np.ndarray:
    """(C, H, W) of an array that lies in another usual order of axes; any other stays as it is."""
    bands, size = len(modality.bands), tuple(modality.size)
    if pixels.shape == (bands, *size):
        return pixels
    if pixels.shape == (*size, bands):
        return pixels.transpose(2, 0, 1)
    if bands == 1 and pixels.shape == size:
        return pixels[None]
    if bands == 1 and pixels.shape == (3, *size) and (pixels[1:] == pixels[:1]).all():
        return pixels[:1]
    return pixels


def bytes_of_pair(card: DatasetCard) -> int:
    """Bytes that the pixels of both images of a pair take."""
    return sum(
        len(m.bands) * m.size[0] * m.size[1] * np.dtype(m.dtype).itemsize for m in (card.a, card.b)
    )


def describe(pixels: np.ndarray) -> str:
    """Shape and dtype in words, ``"3×64×64 uint8"``."""
    return f"{_sizes(pixels.shape)} {pixels.dtype}"


def _sizes(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def _picture(path: Path) -> np.ndarray:
    from PIL import Image

    with Image.open(path, formats=("PNG", "JPEG")) as image:
        if image.mode not in MODES:
            raise UserError(
                f"a picture of Pillow's mode {image.mode}: its numbers are no pixel values",
                where=path,
                fix=f"save it with one of the modes {', '.join(MODES)}",
            )
        if image.mode in ("RGB", "RGBA") and "16" in str(image.tile[0].args):
            raise UserError(  # Pillow would cut it to 8 bits
                "a colour PNG of 16 bits", where=path, fix="save it as GeoTIFF or .npy"
            )
        pixels = np.asarray(image)
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _geotiff(path: Path) -> np.ndarray:
    import rasterio

    memory = rasterio.MemoryFile(path.read_bytes())
    with reading(), memory, memory.open(driver="GTiff") as file:
        return np.asarray(file.read())


def _numpy(path: Path) -> np.ndarray:
    with path.open("rb") as file:  # allow_pickle is off: an array of objects would execute code
        return np.asarray(np.lib.format.read_array(file, allow_pickle=False))


def _numpy_archive(path: Path) -> np.ndarray:
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if len(names) != 1:
            raise UserError(
                f"{len(names)} arrays in one file: {', '.join(names[:10])}",
                where=path,
                fix="put one image into a file",
            )
        data = io.BytesIO(archive.read(names[0]))
    return np.asarray(np.lib.format.read_array(data, allow_pickle=False))


LOADERS: dict[str, Callable[[Path], np.ndarray]] = {
    **dict.fromkeys((".png", ".jpg", ".jpeg"), _picture),
    **dict.fromkeys((".tif", ".tiff"), _geotiff),
    ".npy": _numpy,
    ".npz": _numpy_archive,
}
