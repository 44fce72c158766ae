"""Pairs of image files as a source: CBRSIR_VS, EuroSAT with its SAR partner, a user's own.

Layouts: class folders in each modality's folder, list files, or a CSV table; see ``labels.py``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pydantic import Field

from crbench.cards import DatasetCard, Strict, parse
from crbench.data.cache.reading import class_counts
from crbench.data.sources import Block, Source
from crbench.data.sources.raw import counted, pairs_at_once
from crbench.data.sources.user import splits
from crbench.data.sources.user.image_folders import (
    files_by_key,
    formats,
    modality_folders,
)
from crbench.data.sources.user.images import (
    opened_image,
    read_image_file,
    room,
    shape_and_dtype,
)
from crbench.data.sources.user.label_files import (
    Labels,
    from_csv,
    from_folders,
    from_lists,
    looks_like_list,
)
from crbench.errors import UserError
from crbench.files import sha256_json
from crbench.words import MODALITIES

_SHOWN = 5  # unpaired files named one by one


class _FoldersTable(Strict):
    """``[source]``: where each modality lies, what its names carry, where labels come from.

    ``a``, ``b``: folders inside --source, found by name or content where they are empty.
    ``prefix``, ``suffix``: what file names of a modality have before and after what pairs share.
    ``labels``: a CSV table or a pattern of list files inside --source; where it is empty,
    ``labels.csv``, else list files ``*.txt``, else class folders.
    """

    kind: str
    a: str = ""
    b: str = ""
    prefix: dict[str, str] = Field(default_factory=dict)
    suffix: dict[str, str] = Field(default_factory=dict)
    labels: str = ""
    split: dict[str, Any] = Field(default_factory=dict)
    allow_missing: bool = False


@dataclass(frozen=True)
class _MatchedFiles:
    """Files of each modality by key, keys of whole pairs in order, and what is not whole."""

    files: dict[str, dict[str, Path]]
    keys: list[str]
    lacking: list[str]
    unlisted: int


def open_folders(card: DatasetCard, source_dir: Path | None) -> Source:
    """All pairs under ``source_dir``; ids are the files' stems, with folders where stems repeat.

    Unpaired files, folders of no class and classes without pairs are a UserError; with
    ``allow_missing`` the unpaired are left out and counted.
    """
    table = parse(_FoldersTable, card.source, where=f"{card.name}, [source]")
    root = _root(card, source_dir)
    folders = modality_folders(root, card, {"a": table.a, "b": table.b})
    files: dict[str, dict[str, Path]] = {
        which: files_by_key(
            folders[which], table.prefix.get(which, ""), table.suffix.get(which, "")
        )
        for which in MODALITIES
    }
    labels = _labels(card, table, root, files)
    pairs = _paired(files, labels)
    _check_pairs(pairs, table, root)
    keys = pairs.keys
    classes = labels.array(keys, card.labels)
    ids = [PurePosixPath(key).name for key in keys]
    if len(set(ids)) != len(ids):
        ids = keys
    notes = [*_found(card, folders, root, pairs, labels), *labels.notes]
    if pairs.lacking:
        notes.append(f"{len(pairs.lacking):,} pairs are not whole: {_some(pairs.lacking)}")
    if pairs.unlisted:
        notes.append(f"{pairs.unlisted:,} files are in no list and left aside")
    if classes is not None:
        notes.append(_classes_note(card, classes, root))
    if labels.split:
        split = [labels.split[key] for key in keys]
        notes.append("split from the table")
    else:
        split, words = splits.draw(table.split, ids, classes, card.name)
        notes.append(words)
    chosen: dict[str, list[Path]] = {
        which: [files[which][key] for key in keys] for which in MODALITIES
    }

    def read(start: int, stop: int) -> Block:
        a, b = (
            np.stack(
                [read_image_file(path, card.modality(which)) for path in chosen[which][start:stop]]
            )
            for which in MODALITIES
        )
        return Block(a, b, None if classes is None else classes[start:stop])

    return Source(
        ids=ids,
        split=split,
        read=read,
        description=f"{len(ids):,} pairs of files, {labels.layout}",
        fingerprint=f"folders 1 {_fingerprint(root, chosen, classes)}",
        rows_per_block=pairs_at_once(card),
        notes=notes,
        missing=len(pairs.lacking),
    )


def _root(card: DatasetCard, source_dir: Path | None) -> Path:
    if source_dir is None:
        raise UserError(
            f"where the images of {card.name} lie is not said",
            fix=f"get them ({card.where}), then --source DIR",
        )
    if not source_dir.is_dir():
        what = "an archive or another file" if source_dir.exists() else "no such folder"
        raise UserError(what, where=source_dir, fix="unpack the images and name their folder")
    return source_dir


def _labels(
    card: DatasetCard, table: _FoldersTable, root: Path, files: dict[str, dict[str, Path]]
) -> Labels:
    paths = [root / (table.labels or "labels.csv")]
    if table.labels and not paths[0].is_file():
        paths = [] if Path(table.labels).is_absolute() else sorted(root.glob(table.labels))
    if not paths:
        raise UserError(f"no file '{table.labels}'", where=root, fix="correct source.labels")
    if paths[0].suffix == ".csv" and paths[0].is_file():
        return from_csv(paths[0], card.labels)
    if not table.labels:
        top = len(card.labels.classes)
        paths = [p for p in sorted(root.glob("*.txt")) if top and looks_like_list(p, top)]
    if paths:
        return from_lists(paths, card.labels)
    return from_folders(sorted({*files["a"], *files["b"]}), card.labels, root)


def _paired(files: dict[str, dict[str, Path]], labels: Labels) -> _MatchedFiles:
    a, b = files["a"], files["b"]
    everything = sorted({*a, *b})
    wanted = sorted(labels.classes) if labels.listed else everything
    lacking = []
    for key in wanted:
        sides = [which for which in MODALITIES if key not in files[which]]
        if sides:
            lacking.append(f"'{key}' (no {' and no '.join(sides)})")
    keys = [key for key in wanted if key in a and key in b]
    unlisted = sum(key not in labels.classes for key in [*a, *b]) if labels.listed else 0
    return _MatchedFiles(files, keys, lacking, unlisted)


def _check_pairs(pairs: _MatchedFiles, table: _FoldersTable, root: Path) -> None:
    if not pairs.keys:
        looks = ", ".join(f"{w} has '{next(iter(pairs.files[w]), 'nothing')}'" for w in MODALITIES)
        raise UserError(
            f"no two files belong together: {looks}; {_some(pairs.lacking)}",
            where=root,
            fix="say in the card what their names differ in: [source.prefix] and [source.suffix]",
        )
    if pairs.lacking and not table.allow_missing:
        raise UserError(
            f"{len(pairs.lacking):,} pairs are not whole: {_some(pairs.lacking)}",
            where=root,
            fix="complete the files, or go on without these: --allow-missing",
        )


def _some(texts: Sequence[str]) -> str:
    return ", ".join(texts[:_SHOWN]) + (", …" if len(texts) > _SHOWN else "")


def _found(
    card: DatasetCard, folders: dict[str, Path], root: Path, pairs: _MatchedFiles, labels: Labels
) -> list[str]:
    """What lies there: the layout, and of each modality its folder, formats and first image."""
    lines = [f"layout: {labels.layout}, {len(pairs.keys):,} pairs"]
    for which in MODALITIES:
        files = pairs.files[which]
        with opened_image(files[pairs.keys[0]], most=room(card.modality(which))) as image:
            first = shape_and_dtype(image)
        name = folders[which].relative_to(root).as_posix()
        lines.append(
            f"{which} = {card.modality(which).name}: {name}/, {formats(files)}, the first is "
            f"{first}"
        )
    return lines


def _classes_note(card: DatasetCard, classes: np.ndarray, root: Path) -> str:
    numbers = class_counts(card, classes)
    if empty := [name for name, number in numbers.items() if not number]:
        raise UserError(
            f"no pair is of class '{empty[0]}'",
            where=root,
            fix="complete the images, or leave the class out of the card",
        )
    return f"classes: {counted(numbers)}"


def _fingerprint(root: Path, chosen: dict[str, list[Path]], classes: np.ndarray | None) -> str:
    files = [
        [path.relative_to(root).as_posix(), path.stat().st_size]
        for which in MODALITIES
        for path in chosen[which]
    ]
    return sha256_json([files, None if classes is None else classes.tolist()])
