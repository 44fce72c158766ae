"""What lies in a folder of images: which folder is which modality, and its files by key.

A key is a file's path inside its modality's folder, without ending, prefix and suffix:
``Forest/Forest_12``. Pairs are files of equal keys.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path, PurePosixPath

from crbench.cards import DatasetCard
from crbench.data.sources.user.images import LOADERS, arranged, fits, opened_image, room
from crbench.errors import UserError
from crbench.words import MODALITIES


def modality_folders(root: Path, card: DatasetCard, named: Mapping[str, str]) -> dict[str, Path]:
    """The folder of each modality inside ``root``.

    By the names given; else a subfolder called ``a`` or ``b`` or as the card calls the modality, in
    any case; else the one subfolder whose first image has the card's size and bands.
    Folders in which nothing but one folder lies, as archives have them, are walked through.
    """
    known = {path.name.lower(): path for path in _subfolders(root)}
    folders: dict[str, Path] = {}
    for which in MODALITIES:
        names = (which, card.modality(which).name.lower())
        path = next((known[name] for name in names if name in known), None)
        if named[which]:
            path = root / named[which]
            if not path.is_dir():
                raise _not_found(root, card, which)
        if path is not None:
            folders[which] = path
    if len(folders) < 2:
        folders = _by_content(root, card, folders)
    return {which: _through(folders[which], card.labels.classes) for which in MODALITIES}


def files_by_key(folder: Path, prefix: str, suffix: str) -> dict[str, Path]:
    """The images under ``folder`` by key, in order of their paths; names that lack ``prefix`` or
    ``suffix`` are not its. A key that two files have is a UserError."""
    files: dict[str, Path] = {}
    for path in _images(folder):
        stem = path.stem
        name = stem[len(prefix) : len(stem) - len(suffix)]
        if not name or prefix + name + suffix != stem:
            continue
        key = (PurePosixPath(path.relative_to(folder).parent.as_posix()) / name).as_posix()
        if key in files:
            raise UserError(
                f"'{key}' is there twice: {files[key].name} and {path.name}",
                where=folder,
                fix="leave one of them",
            )
        files[key] = path
    return files


def formats(files: Mapping[str, Path]) -> str:
    """How many files of which ending: ``"26,901 png"``."""
    counts = Counter(path.suffix.lower().lstrip(".") for path in files.values())
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))


def _subfolders(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.is_dir() and not path.name.startswith((".", "__MACOSX"))
    )


def _images(folder: Path) -> Iterator[Path]:
    """Paths of images, depth first, in the order of their names."""
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__MACOSX")))
        for name in sorted(names):
            if not name.startswith(".") and Path(name).suffix.lower() in LOADERS:
                yield Path(where) / name


def _through(folder: Path, classes: list[str]) -> Path:
    while True:
        inside = _subfolders(folder)
        if len(inside) != 1 or inside[0].name in classes:
            return folder
        if any(path.suffix.lower() in LOADERS for path in folder.iterdir()):
            return folder
        folder = inside[0]


def _by_content(root: Path, card: DatasetCard, named: dict[str, Path]) -> dict[str, Path]:
    """Both folders, where one choice alone fits their first images and those ``named`` by name."""
    first = {path: next(_images(path), None) for path in _subfolders(root)}
    fitting: dict[str, list[Path]] = {
        which: [path for path, image in first.items() if image and _fits(image, card, which)]
        for which in MODALITIES
        if which not in named
    }
    known = {**fitting, **{which: [path] for which, path in named.items()}}
    choices = [{"a": a, "b": b} for a, b in product(known["a"], known["b"]) if a != b]
    if len(choices) != 1:
        raise _not_found(root, card, next(iter(fitting)))
    return choices[0]


def _fits(path: Path, card: DatasetCard, which: str) -> bool:
    modality = card.modality(which)
    with opened_image(path, most=room(modality)) as image:
        if not fits(image.shape, modality):
            return False
        return arranged(image.read(), modality).shape == (len(modality.bands), *modality.size)


def _not_found(root: Path, card: DatasetCard, which: str) -> UserError:
    listed = [
        f"{path.name} ({'images' if next(_images(path), None) else 'no images'})"
        for path in _subfolders(root)
    ]
    modality = card.modality(which)
    return UserError(
        f"no folder of modality {which} ({modality.name}, {len(modality.bands)}×{modality.size[0]}×"
        f"{modality.size[1]}); there are: {', '.join(listed[:12]) or 'no folders'}",
        where=root,
        fix=f'say in the card which one it is: [source] {which} = "FOLDER"',
    )
