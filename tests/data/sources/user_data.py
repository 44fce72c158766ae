"""Write tiny sets of raw pairs in the exact layouts in which users have them.

As a script it writes one of each, to look at: ``python tests/data/sources/user_data.py FOLDER``.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import rasterio
from PIL import Image

CLASSES = (
    "AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial", "Pasture",
    "PermanentCrop", "Residential", "River", "SeaLake",
)  # fmt: skip
Pixels = dict[str, np.ndarray]  # of one pair, (C, H, W) by modality


@dataclass(frozen=True)
class Pair:
    """A pair with its class and its number in the class, from 1 on."""

    kind: str
    number: int
    pixels: Pixels

    @property
    def stem(self) -> str:
        return f"{self.kind}_{self.number}"


def pairs(
    each: int,
    a: tuple[int, ...] = (3, 16, 16),
    b: tuple[int, ...] = (1, 4, 4),
    dtypes: tuple[str, str] = ("uint8", "uint8"),
    classes: Sequence[str] = CLASSES,
) -> list[Pair]:
    """``each`` pairs of every class, with random pixels over the whole range of their dtypes."""
    made = []
    for number, kind in enumerate(classes):
        for item in range(1, each + 1):
            rng = np.random.default_rng([number, item])
            pixels = {
                "a": _random(rng, a, np.dtype(dtypes[0])),
                "b": _random(rng, b, np.dtype(dtypes[1])),
            }
            made.append(Pair(kind, item, pixels))
    return made


def _random(rng: np.random.Generator, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    if dtype.kind == "f":
        return rng.normal(-15, 5, shape).astype(dtype)
    return rng.integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def write_image(path: Path, pixels: np.ndarray) -> None:
    """One image in the form that the name's ending says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ending = path.suffix.lower()
    if ending in (".tif", ".tiff"):
        bands, height, width = pixels.shape
        with rasterio.open(
            path, "w", driver="GTiff", count=bands, height=height, width=width, dtype=pixels.dtype
        ) as file:
            file.write(pixels)
    elif ending == ".npy":
        np.save(path, pixels)
    elif ending == ".npz":
        np.savez(path, image=pixels)
    else:
        grey = pixels.shape[0] == 1
        options = {"quality": 95} if ending in (".jpg", ".jpeg") else {}
        Image.fromarray(pixels[0] if grey else pixels.transpose(1, 2, 0)).save(path, **options)


def class_folders(
    root: Path,
    made: Sequence[Pair],
    folders: Mapping[str, str] | None = None,
    endings: Mapping[str, str] | None = None,
) -> Path:
    """``<modality>/<Class>/<Class>_<n>.<ending>``, as CBRSIR_VS and EuroSAT lie."""
    folders = folders or {"a": "RGB", "b": "SAR"}
    endings = endings or {"a": ".png", "b": ".png"}
    for pair in made:
        for which in ("a", "b"):
            name = root / folders[which] / pair.kind / f"{pair.stem}{endings[which]}"
            write_image(name, pair.pixels[which])
    return root


def flat(root: Path, made: Sequence[Pair], suffix: Mapping[str, str]) -> Path:
    """Both modalities in folders of their own without classes: ``a/<stem><suffix>``."""
    for pair in made:
        for which in ("a", "b"):
            write_image(root / which / f"{pair.stem}{suffix[which]}", pair.pixels[which])
    return root


def list_line(pair: Pair, form: str, classes: Sequence[str] = CLASSES) -> str:
    """One line of a list file: a path with an index from 0 or 1 on, or with 0 and 1 per class."""
    k = list(classes).index(pair.kind)
    hot = " ".join("1" if j == k else "0" for j in range(len(classes)))
    return f"{pair.stem} " + {"index": str(k), "from one": str(k + 1), "one-hot": hot}[form]


def dsrsid(path: Path, a: np.ndarray, b: np.ndarray, kinds: np.ndarray, order: str) -> Path:
    """A v7.3 file, with samples first, or last as MATLAB's reversed axes have them.

    ``a``, ``b`` (N, C, H, W), ``kinds`` (N,) from 1 on. The first 512 bytes are MATLAB's own.
    """
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in (("PAN_IMAGES", a), ("MUL_IMAGES", b)):
            stored = array if order == "samples first" else array.transpose()
            file.create_dataset(name, data=stored).attrs["MATLAB_class"] = np.bytes_("uint8")
        stored = kinds[None] if order == "samples first" else kinds[:, None]
        file.create_dataset("LAND_COVER_TYPES", data=stored.astype(np.float64))
    head = b"MATLAB 7.3 MAT-file, Platform: GLNXA64, Created on: Mon Jan 01 00:00:00 2018 HDF5"
    with path.open("r+b") as raw:
        raw.write(head.ljust(124) + b"\x00\x02IM")
    return path


FORMS: dict[str, Callable[[Path], object]] = {
    "cbrsir-vs": lambda root: class_folders(root, pairs(3, (3, 256, 256), (1, 64, 64))),
    "eurosat-s1s2": lambda root: class_folders(
        root,
        pairs(3, (2, 64, 64), (13, 64, 64), ("float32", "uint16")),
        {"a": "EuroSAT-SAR", "b": "EuroSAT_MS"},
        {"a": ".tif", "b": ".tif"},
    ),
}

if __name__ == "__main__":
    for form, write in FORMS.items():
        write(Path(sys.argv[1]) / form)
