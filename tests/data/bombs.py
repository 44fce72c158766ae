"""Files that claim to be images and are not what they seem, each of at most a few MB."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np

SIDE = 100_000


def tiff(
    width: int, height: int, data: bytes, *, bands: int = 1, tile: int = 0, offset: int = 0
) -> bytes:
    """A deflated 8-bit TIFF by hand: one strip, or one tile of ``tile`` pixels square."""
    at = offset or 8
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 8), (262, 3, 1, 1),
        (277, 3, 1, bands), (284, 3, 1, 1),
    ]  # fmt: skip
    if tile:
        entries += [(322, 4, 1, tile), (323, 4, 1, tile), (324, 4, 1, at), (325, 4, 1, len(data))]
    else:
        entries += [(273, 4, 1, at), (278, 4, 1, height), (279, 4, 1, len(data))]
    entries.sort()
    body = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    start = 8 + len(data) + len(data) % 2
    head = struct.pack("<2sHI", b"II", 42, start) + data + b"\0" * (len(data) % 2)
    return head + struct.pack("<H", len(entries)) + body + struct.pack("<I", 0)


def png(width: int, height: int, color: int = 0) -> bytes:
    """A valid PNG of zeros, as wide and high as it says if that is under 256 MiB."""
    channels = {0: 1, 2: 3}[color]
    rows = min(height, 2**28 // (width * channels + 1))
    packer = zlib.compressobj(9)
    row = bytes(width * channels + 1)
    data = b"".join(packer.compress(row) for _ in range(rows)) + packer.flush()

    def chunk(kind: bytes, body: bytes) -> bytes:
        check = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", width, height, 8, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def npy(shape: tuple[int, ...], dtype: str = "|u1", data: bytes = b"") -> bytes:
    """A NumPy file whose header says anything."""
    about = {"descr": dtype, "fortran_order": False, "shape": shape}
    head = repr(about).encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head + data


def npz(content: bytes, zeros: int = 0, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An archive of one entry: ``content`` and so many zeros behind it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive, archive.open("x.npy", "w") as entry:
        entry.write(content)
        for _ in range(zeros // 2**20):
            entry.write(bytes(2**20))
    return file.getvalue()


def lying(content: bytes, shape: tuple[int, ...]) -> bytes:
    """An archive that says it unpacks to one image, and would unpack to 256 MiB more."""
    data = npz(content, 2**28)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        size = archive.infolist()[0].file_size
    honest, small = struct.pack("<I", size), struct.pack("<I", len(content))
    assert data.count(honest) >= 1
    return data.replace(honest, small)


def bombs(shape: tuple[int, int, int], dtype: str, other: Path) -> dict[str, tuple[bytes, str]]:
    """By name with ending: the file, and what is said of it. ``other`` is a file that must not be
    followed to; ``shape`` (C, H, W) and ``dtype`` are what the card wants."""
    kind = np.dtype(dtype).str
    image = np.zeros(shape, dtype)
    good = npy(shape, kind, image.tobytes())
    zeros = zlib.compress(bytes(2**24), 9)
    big = f"the image is 1×{SIDE}×{SIDE} uint8, the card says"
    huge = b"\x93NUMPY\x02\x00" + struct.pack("<I", 2**32 - 1)
    vrt = (
        f'<VRTDataset rasterXSize="{shape[2]}" rasterYSize="{shape[1]}"><VRTRasterBand '
        f'dataType="Byte" band="1"><SimpleSource><SourceFilename>{other}</SourceFilename>'
        "</SimpleSource></VRTRasterBand></VRTDataset>"
    ).encode()
    return {
        "bomb.tif": (tiff(SIDE, SIDE, zeros), big),
        "tile.tif": (
            tiff(shape[2], shape[1], zeros, tile=32768), "uint8, the card says"
        ),
        "bands.tif": (tiff(shape[2], shape[1], zeros, bands=60_000), "the image is 60000×"),
        "outside.tif": (tiff(shape[2], shape[1], zeros, offset=2**31), "the card says"),
        "text.tif": (b"These are words and no image.\n", "its content is no TIFF"),
        "empty.tif": (b"", "its content is no TIFF"),
        "other.tif": (vrt, "its content is no TIFF"),
        "path.tif": (f"/vsisubfile/0_100,{other}".encode(), "its content is no TIFF"),
        "start.tif": (b"II*\0" + vrt, "not a readable image (image.tif: TIFF"),
        "bomb.png": (png(SIDE, SIDE), "exceeds limit of"),
        "large.png": (png(9000, 9000, 2), "the image is 3×9000×9000 uint8, the card says"),
        "text.png": (b"no picture", "its content is no PNG or JPEG"),
        "tiff.jpg": (tiff(4, 4, zeros), "its content is no PNG or JPEG"),
        "lie.npy": (npy((10**6, 10**6)), "the image is 1000000×1000000 uint8"),
        "cut.npy": (good[:-1], "it ends after"),
        "negative.npy": (npy((-1, 2**62)), "the card says"),
        "header.npy": (huge, "not a readable image"),
        "pickle.npy": (npy((1,), "|O"), "Python objects, which are never loaded"),
        "bomb.npz": (npz(good, 2**28), "the archive unpacks to 268,"),
        "header.npz": (npz(huge, 2**25), "not a readable image"),
        "lying.npz": (lying(good, shape), "not a readable image"),
        "bzip.npz": (npz(good, 2**28, zipfile.ZIP_BZIP2), "an archive that NumPy did not write"),
        "text.npz": (b"PK and no more", "not a readable image"),
    }  # fmt: skip
