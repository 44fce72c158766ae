"""Pairs of image files as a source: CBRSIR_VS, EuroSAT with its SAR partner, a user's own.

Layouts: class folders in each modality's folder, list files, or a CSV table: ``label_files.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from pydantic import Field

from crbench.cards import DatasetCard, Strict, parse
from crbench.data.cache.reading import class_counts
from crbench.data.sources import Block, Source
from crbench.data.sources.raw import counted, named_source, pairs_at_once, shape_in_words, some
from crbench.data.sources.user import splits
from crbench.data.sources.user.image_folders import files_by_key, formats, modality_folders
from crbench.data.sources.user.images import opened_image, read_image_file, room
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


def open_folders(card: DatasetCard, source_dir: Path | None) -> Source:
    """All pairs under ``source_dir``; ids are the files' stems, with folders where stems repeat.

    Unpaired files, folders of no class and classes without pairs are a UserError; with
    ``allow_missing`` the unpaired are left out and counted.
    """
    table = parse(_FoldersTable, card.source, where=f"{card.name}, [source]")
    root = named_source(card, source_dir)
    if not root.is_dir():
        fix = "unpack the images and name their folder"
        raise UserError("an archive or another file", where=root, fix=fix)
    folders = modality_folders(root, card, {"a": table.a, "b": table.b})
    files: dict[str, dict[str, Path]] = {
        which: files_by_key(
            folders[which], table.prefix.get(which, ""), table.suffix.get(which, "")
        )
        for which in MODALITIES
    }
    labels = _labels(card, table, root, sorted({*files["a"], *files["b"]}))
    keys, lacking = _whole_pairs(files, sorted(labels.keys), table.allow_missing, root)
    classes = labels.array(keys)
    ids = [PurePosixPath(key).name for key in keys]
    if len(set(ids)) != len(ids):
        ids = keys
    notes = [f"layout: {labels.layout}, {len(keys):,} pairs"]
    for which in MODALITIES:
        modality, folder = card.modality(which), folders[which].relative_to(root).as_posix()
        with opened_image(files[which][keys[0]], most=room(modality)) as image:
            first = shape_in_words(image.shape, image.dtype)
        forms = formats(files[which])
        notes.append(f"{which} = {modality.name}: {folder}/, {forms}, the first is {first}")
    notes += labels.notes
    if lacking:
        notes.append(f"{len(lacking):,} pairs are not whole: {some(lacking)}")
    if unlisted := sum(len(files[which].keys() - set(labels.keys)) for which in MODALITIES):
        notes.append(f"{unlisted:,} files are in no list and left aside")
    if classes is not None:
        numbers = class_counts(card, classes)
        if 0 in numbers.values():
            raise UserError(
                f"no pair is of class '{min(numbers, key=numbers.__getitem__)}'",
                where=root,
                fix="complete the images, or leave the class out of the card",
            )
        notes.append(f"classes: {counted(numbers)}")
    if labels.split:
        split, words = [labels.split[key] for key in keys], "split from the table"
    else:
        split, words = splits.draw(table.split, ids, classes, card.name)
    notes.append(words)
    chosen = {which: [files[which][key] for key in keys] for which in MODALITIES}

    def read(start: int, stop: int) -> Block:
        a, b = (
            [read_image_file(path, card.modality(which)) for path in chosen[which][start:stop]]
            for which in MODALITIES
        )
        return Block(np.stack(a), np.stack(b), None if classes is None else classes[start:stop])

    return Source(
        ids=ids,
        split=split,
        read=read,
        description=f"{len(ids):,} pairs of files, {labels.layout}",
        fingerprint=f"folders 1 {_fingerprint(root, [*chosen['a'], *chosen['b']], classes)}",
        rows_per_block=pairs_at_once(card),
        notes=notes,
        missing=len(lacking),
    )


def _labels(card: DatasetCard, table: _FoldersTable, root: Path, keys: list[str]) -> Labels:
    pattern, top = table.labels or "labels.csv", len(card.labels.classes)
    paths = [] if Path(pattern).is_absolute() else sorted(root.glob(pattern))
    if table.labels and not paths:
        raise UserError(f"no file '{table.labels}'", where=root, fix="correct source.labels")
    if paths and paths[0].suffix == ".csv":
        return from_csv(paths[0], card.labels)
    if not table.labels:
        paths = [p for p in sorted(root.glob("*.txt")) if top and looks_like_list(p, top)]
    return from_lists(paths, card.labels) if paths else from_folders(keys, card.labels, root)


def _whole_pairs(
    files: Mapping[str, Mapping[str, Path]], keys: list[str], allow_missing: bool, root: Path
) -> tuple[list[str], list[str]]:
    """The keys that both modalities have, and the others with what they lack, in words."""
    sides = {key: [which for which in MODALITIES if key not in files[which]] for key in keys}
    whole = [key for key in keys if not sides[key]]
    lacking = [f"'{key}' (no {' and no '.join(sides[key])})" for key in keys if sides[key]]
    if not whole:
        looks = ", ".join(f"{w} has '{next(iter(files[w]), 'nothing')}'" for w in MODALITIES)
        raise UserError(
            f"no two files belong together: {looks}; {some(lacking)}",
            where=root,
            fix="say in the card what their names differ in: [source.prefix] and [source.suffix]",
        )
    if lacking and not allow_missing:
        raise UserError(
            f"{len(lacking):,} pairs are not whole: {some(lacking)}",
            where=root,
            fix="complete the files, or go on without these: --allow-missing",
        )
    return whole, lacking


def _fingerprint(root: Path, paths: list[Path], classes: np.ndarray | None) -> str:
    files = [[path.relative_to(root).as_posix(), path.stat().st_size] for path in paths]
    return sha256_json([files, None if classes is None else classes.tolist()])
