"""EuroSAT RGB as a pair of sensors by Wald's protocol (Wald et al. 1997): degrade, then compare.

Raw: a tar of JPEGs ``<Class>/<Class>_<n>.jpg``, 64 × 64 × 3, read in place. Modality a is the
luminance at full resolution, b the colour at a quarter of it, by area averages.
"""

from __future__ import annotations

import io
import tarfile
from pathlib import Path, PurePosixPath
from typing import IO, cast

import numpy as np

from crbench.cards import DatasetCard, Strict, parse
from crbench.data.sources import Block, Source
from crbench.data.sources.raw import damage_named, file_fingerprint, find_folder
from crbench.data.sources.user import splits
from crbench.errors import UserError

_LUMINANCE = np.array([0.299, 0.587, 0.114])  # ITU-R BT.601
_SIDE, _FACTOR = 64, 4


class _WaldTable(Strict):
    """``[source]``: the folder's usual name, and shares of the splits within each class."""

    kind: str
    folder: str
    seed: int
    shares: dict[str, float]


def open_eurosat_wald(card: DatasetCard, source_dir: Path | None) -> Source:
    """All images of the tar, by class and name; ids are the file names without ending."""
    table = parse(_WaldTable, card.source, where=f"{card.name}, [source]")
    path = sorted(find_folder(card, source_dir, table.folder, "*.tar").glob("*.tar"))[0]
    with damage_named("not a whole tar", path, tarfile.TarError, EOFError, fix="get it again"):
        archive = tarfile.open(path, "r:")  # noqa: SIM115 - stays open while the source is read
        files = [member for member in archive.getmembers() if member.isfile()]
    members = sorted((m for m in files if m.name.endswith(".jpg")), key=lambda m: m.name)
    classes = card.labels.classes
    names = [PurePosixPath(member.name) for member in members]
    if strange := [str(name) for name in names if name.parent.name not in classes]:
        raise UserError(
            f"'{strange[0]}' is in no class folder that the card names",
            where=path,
            fix=f"classes: {', '.join(classes)}",
        )
    ids = [name.stem for name in names]
    labels = np.array([classes.index(name.parent.name) for name in names], dtype=np.int64)
    rule = {"seed": table.seed, "shares": table.shares}
    split, words = splits.draw(rule, ids, labels, card.name)

    def read(start: int, stop: int) -> Block:
        pairs = [wald_pair(_decode(archive, member, path)) for member in members[start:stop]]
        a, b = (np.stack(column) for column in zip(*pairs, strict=True))
        return Block(a, b, labels[start:stop])

    return Source(
        ids=ids,
        split=split,
        read=read,
        description=f"{len(ids)} EuroSAT RGB images, Wald-simulated: luminance {_SIDE} px, "
        f"colour {_SIDE // _FACTOR} px",
        fingerprint=f"eurosat-wald 1 {file_fingerprint([path])}",
        rows_per_block=256,
        notes=[words],
        resampling=f"area average of {_FACTOR} × {_FACTOR} pixels, rounded (b)",
    )


def _decode(archive: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> np.ndarray:
    """The JPEG as (64, 64, 3) uint8."""
    from PIL import Image

    what, kinds = f"'{member.name}' cannot be read", (OSError, tarfile.TarError, SyntaxError)
    with damage_named(what, path, *kinds, fix=None):
        handle = cast(IO[bytes], archive.extractfile(member))
        image = np.asarray(Image.open(io.BytesIO(handle.read())).convert("RGB"))
    if image.shape != (_SIDE, _SIDE, 3):
        raise UserError(f"'{member.name}' is {image.shape}, expected 64 × 64 × 3", where=path)
    return image


def wald_pair(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(64, 64, 3) uint8 → luminance (1, 64, 64) and colour at a quarter (3, 16, 16), uint8."""
    luminance = np.rint(image @ _LUMINANCE).astype(np.uint8)[None]
    small = _SIDE // _FACTOR
    colour = image.reshape(small, _FACTOR, small, _FACTOR, 3).mean((1, 3))
    return luminance, np.rint(colour).astype(np.uint8).transpose(2, 0, 1)
