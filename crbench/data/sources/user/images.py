"""One image from one file: PNG, JPEG, GeoTIFF or NumPy, as (C, H, W) in the values it holds.

Nothing is scaled, cast or guessed: a file whose size, bands or type are not the card's is refused.
Files may be a stranger's: a file is read into memory whole, up to a limit, its header says what it
would become, and pixels are decoded only where that is what is wanted. No decoder opens another
file, and no pickle is loaded.
"""

from __future__ import annotations

import io
import math
import re
import zipfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crbench.cards import ModalityCard
from crbench.data.cache.reading import brief
from crbench.data.sources.bigearthnet.tiff import reading
from crbench.data.sources.raw import other_than_card
from crbench.errors import UserError

_MODES = {  # of Pillow, whose pixels are values and no palette: bands and dtype
    "L": (1, "uint8"),
    "RGB": (3, "uint8"),
    "RGBA": (4, "uint8"),
    "I;16": (1, "uint16"),
    "I": (1, "int32"),
    "F": (1, "float32"),
}
LEAST_ROOM = 64 * 2**20  # bytes that any image may take, on disk and decoded


@dataclass(frozen=True)
class OpenedImage:
    """An image file of which the header is read: what ``read()`` will decode.

    ``shape`` is (C, H, W) of a picture, for an array as it lies; ``names`` are those of a GeoTIFF's
    bands where it tells all of them, else empty. ``extent``: where a GeoTIFF lies, its coordinate
    reference system and (left, bottom, right, top) in it.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]
    names: tuple[str, ...] = ()
    extent: tuple[str, tuple[float, float, float, float]] | None = None

    @property
    def nbytes(self) -> int:
        """Bytes of the decoded pixels."""
        return math.prod(self.shape) * self.dtype.itemsize


def room(modality: ModalityCard) -> int:
    """Bytes that a file with an image of ``modality`` may have, and may become when decoded.

    Twice the pixels, so that other bands and metadata have their place, and never below 64 MiB.
    """
    pixels = len(modality.bands) * math.prod(modality.size) * np.dtype(modality.dtype).itemsize
    return max(LEAST_ROOM, 2 * pixels)


def read_image_file(path: Path, modality: ModalityCard) -> np.ndarray:
    """The image at ``path``, (C, H, W), checked against bands, size and dtype of ``modality``.

    Arrays (.npy, .npz) may also lie as (H, W, C), or (H, W) for one band. Where one band is asked
    for and a picture has three equal ones, as grey JPEGs often have, one is taken.
    """
    with opened_image(path, most=room(modality)) as image:
        return checked_pixels(
            image,
            modality,
            where=path,
            fix="correct the card's bands, size or dtype, or mend the file",
        )


def checked_pixels(
    image: OpenedImage, modality: ModalityCard, *, where: object, fix: str
) -> np.ndarray:
    """The pixels (C, H, W) of an opened image, decoded only if its header fits ``modality``."""
    have: Any = image
    if image.dtype == np.dtype(modality.dtype) and fits(image.shape, modality):
        have = arranged(image.read(), modality)
        if have.shape == (len(modality.bands), *modality.size) and have.dtype == image.dtype:
            return np.asarray(have)
    raise other_than_card("the image", have, modality, where=where, fix=fix)


@contextmanager
def opened_image(
    path: Path, data: bytes | None = None, *, most: int = LEAST_ROOM
) -> Iterator[OpenedImage]:
    """The image in the file, or in ``data`` read from a file of that name, with its header read.

    A file of over ``most`` bytes, a damaged one, one of another kind, a palette picture or an array
    of Python objects is a UserError, here or when it is decoded.
    """
    kind, starts, loader = LOADERS[path.suffix.lower()]
    try:
        if data is None:
            if not path.is_file():  # a pipe or a device would be waited for
                raise UserError("no such file", fix="check the path")
            with path.open("rb") as file:
                data = file.read(most + 1)
        if len(data) > most:
            raise UserError(
                f"the file has over {most:,} bytes, no image of this size needs them",
                fix="cut one image of the card's size out of it",
            )
        if not data.startswith(starts):
            raise ValueError(f"its content is no {kind}")
        with loader(data, most) as image:
            yield image
    except UserError as error:
        error.where = error.where or str(path)
        raise
    except Exception as error:  # a damaged file makes each library raise kinds of its own
        text = re.sub(r"/vsimem/[0-9a-f-]+/", "", brief(error))  # where GDAL keeps files in memory
        raise UserError(
            f"not a readable image ({text})", where=path, fix="get the file again"
        ) from error


def fits(shape: tuple[int, ...], modality: ModalityCard) -> bool:
    """Whether an array of this shape can be an image of ``modality``, by :func:`arranged`."""
    bands, size = len(modality.bands), tuple(modality.size)
    usual = [(bands, *size), (*size, bands)]
    return shape in (usual if bands > 1 else [*usual, size, (3, *size)])


def arranged(pixels: np.ndarray, modality: ModalityCard) -> np.ndarray:
    """(C, H, W) of an array that ``fits``; three bands that should be one, but differ, stay."""
    if pixels.ndim == 2:
        return pixels[None]
    if pixels.shape[1:] != tuple(modality.size):
        return pixels.transpose(2, 0, 1)
    grey = len(modality.bands) == 1 and (pixels == pixels[:1]).all()
    return pixels[:1] if grey else pixels


@contextmanager
def _picture(data: bytes, most: int) -> Iterator[OpenedImage]:
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
        if image.mode not in _MODES:
            raise UserError(
                f"a picture of Pillow's mode {image.mode}: its numbers are no pixel values",
                fix=f"save it with one of the modes {', '.join(_MODES)}",
            )
        if image.mode in ("RGB", "RGBA") and "16" in str(image.tile[0].args):
            raise UserError(  # Pillow would cut it to 8 bits
                "a colour PNG of 16 bits", fix="save it as GeoTIFF or .npy"
            )
        bands, dtype = _MODES[image.mode]
        shape = (bands, image.height, image.width)

        def read() -> np.ndarray:
            pixels = np.asarray(image)
            return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)

        yield OpenedImage(shape, np.dtype(dtype), read)


@contextmanager
def _geotiff(data: bytes, most: int) -> Iterator[OpenedImage]:
    import rasterio

    # In memory there is no sidecar beside the file, and the driver follows no path inside it.
    memory = rasterio.MemoryFile(data, filename="image.tif")
    with reading(), memory, memory.open(driver="GTiff") as file:
        dtype = np.dtype(file.dtypes[0])  # a TIFF has one for all of its bands
        block = max(height * width for height, width in file.block_shapes)
        names = file.descriptions if all(file.descriptions) else ()

        def read() -> np.ndarray:
            if block * file.count * dtype.itemsize > most:  # decoded whole, however small the image
                raise UserError("its tiles are larger than any image", fix="save it in strips")
            return np.asarray(file.read())

        extent = (file.crs.to_wkt(), tuple(file.bounds)) if file.crs else None
        yield OpenedImage((file.count, *file.shape), dtype, read, tuple(map(str, names)), extent)


@contextmanager
def _numpy(data: bytes, most: int) -> Iterator[OpenedImage]:
    yield _array(io.BytesIO(data))


@contextmanager
def _numpy_archive(data: bytes, most: int) -> Iterator[OpenedImage]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        if len(entries) != 1:
            names = ", ".join(entry.filename for entry in entries[:10])
            raise UserError(f"{len(entries)} arrays in one file: {names}",
                            fix="put one image into a file")  # fmt: skip
        if entries[0].compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            # of others zipfile unpacks without a bound
            raise UserError("an archive that NumPy did not write", fix="save it by numpy.savez")
        if entries[0].file_size > most:  # never more than this is unpacked: zipfile stops there
            raise UserError(
                f"the archive unpacks to {entries[0].file_size:,} bytes, an image has at most "
                f"{most:,}",
                fix="put one image of the card's size into it",
            )
        with archive.open(entries[0]) as file:
            yield _array(file)


def _array(file: Any) -> OpenedImage:
    """An array in NumPy's format, from a stream: its header is parsed as literals, never run."""
    form = np.lib.format
    version = form.read_magic(file)
    parse = form.read_array_header_1_0 if version == (1, 0) else form.read_array_header_2_0
    shape, fortran, dtype = parse(file)
    if dtype.hasobject:
        raise UserError("an array of Python objects, which are never loaded",
                        fix="save numbers: array.astype(float)")  # fmt: skip

    def read() -> np.ndarray:
        size = math.prod(shape) * dtype.itemsize
        data = file.read(size)
        if len(data) != size:
            raise ValueError(f"it ends after {len(data):,} of {size:,} bytes")
        pixels = np.frombuffer(data, dtype)
        return pixels.reshape(shape[::-1]).transpose() if fortran else pixels.reshape(shape)

    return OpenedImage(shape, dtype, read)


_Loader = Callable[[bytes, int], AbstractContextManager[OpenedImage]]
LOADERS: dict[str, tuple[str, tuple[bytes, ...], _Loader]] = {  # what files are, and how they begin
    **dict.fromkeys(
        (".png", ".jpg", ".jpeg"), ("PNG or JPEG", (b"\x89PNG", b"\xff\xd8\xff"), _picture)
    ),
    **dict.fromkeys(
        (".tif", ".tiff"), ("TIFF", (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), _geotiff)
    ),
    ".npy": ("NumPy array", (b"\x93NUMPY",), _numpy),
    ".npz": ("NumPy archive", (b"PK",), _numpy_archive),
}
