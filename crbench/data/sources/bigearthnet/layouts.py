"""The forms in which BigEarthNet lies on disk, recognised by what a folder holds.

A layout says which patches are there, which file of the disk is theirs, and where pairs and
labels stand: in a JSON file beside each patch (v1) or in one table (v2, packaged BEN-14K).
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Protocol

from crbench.data.sources.bigearthnet.members import S1_NAME, S2_NAME, canonical
from crbench.errors import UserError

JSON = "_labels_metadata.json"
_PACKAGED = "benv1_14k_dataset_master_labels.csv"
_ARCHIVES = (".tar.gz", ".tgz", ".tar")
_GET = (
    "get BigEarthNet-v1.0.tar.gz and BigEarthNet-S1-v1.0.tar.gz from https://bigearth.net into one "
    "folder (unpacked v1, v2 with metadata.parquet, and the packaged benv1_14k do as well), then: "
    "crbench cache build {card} --source FOLDER"
)


class PatchFiles(Protocol):
    """Files of patches: folders, or what was kept of archives."""

    def files(self, patch: str) -> Mapping[str, int]:
        """Bytes of each file of a patch by the rest of its name ("_B02.tif"); {} where absent."""

    def fetch(self, patch: str, rest: str) -> bytes:
        """The bytes of a file."""

    def where(self, patch: str, rest: str) -> str:
        """Where this file lies, for messages."""


@dataclass(frozen=True)
class Layout:
    """``disk``: the name on disk of every Sentinel-2 patch by its id, and of every Sentinel-1
    patch by its name. ``pairs`` (id → Sentinel-1 name) and ``labels`` (id → names) where a table
    has them; else they are read from the JSON files."""

    title: str
    store: PatchFiles
    disk: Mapping[str, str]
    pairs: Mapping[str, str] | None = None
    labels: Mapping[str, list[str]] | None = None
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Folders:
    """Patch folders under a root per sensor; in v2 below a folder named by the patch's name
    without its last ``strip`` fields."""

    roots: Mapping[str, Path]
    strip: Mapping[str, int] = field(default_factory=dict)

    def _folder(self, patch: str) -> Path:
        sensor = patch[:2]
        root, strip = self.roots[sensor], self.strip.get(sensor, 0)
        return (root / patch.rsplit("_", strip)[0] if strip else root) / patch

    def files(self, patch: str) -> dict[str, int]:
        """See ``PatchFiles``; empty files count as absent."""
        try:
            with os.scandir(self._folder(patch)) as entries:
                sizes = {entry.name: entry.stat().st_size for entry in entries}
        except (FileNotFoundError, NotADirectoryError):
            return {}
        start = len(patch)
        return {name[start:]: n for name, n in sizes.items() if n and name.startswith(patch)}

    def fetch(self, patch: str, rest: str) -> bytes:
        """See ``PatchFiles``."""
        try:
            return (self._folder(patch) / f"{patch}{rest}").read_bytes()
        except OSError as error:
            raise UserError(
                f"cannot read a file of '{patch}' ({error.strerror})",
                where=self.where(patch, rest),
                fix="complete the folder",
            ) from error

    def where(self, patch: str, rest: str) -> str:
        """See ``PatchFiles``."""
        return str(self._folder(patch) / f"{patch}{rest}")


def find_layout(source_dir: Path | None, card: str) -> Layout | list[Path]:
    """The layout of a folder, or the archives that must be read first.

    A folder that holds none, or more than one, is a UserError that says what was looked for.
    """
    if source_dir is None:
        raise UserError(
            "the raw data of BigEarthNet are needed: name their folder with --source",
            where=card,
            fix=_GET.format(card=card),
        )
    if source_dir.is_file():
        return [source_dir]
    if not source_dir.is_dir():
        raise UserError("no such folder", where=source_dir, fix="give the folder of the raw data")
    folders = [source_dir, *_children(source_dir)]
    fitting = [(folder, [form for form in FORMS if form[1](folder)]) for folder in folders]
    sets = [(folder, forms[0]) for folder, forms in fitting if forms]
    if len(sets) > 1:
        named = "; ".join(f"{form[0]} in {folder}" for folder, form in sets)
        raise UserError(
            f"more than one set of raw data is here: {named}",
            where=source_dir,
            fix="name one of these folders with --source",
        )
    if sets:
        folder, form = sets[0]
        return form[2](folder)
    files = sorted(path for path in source_dir.iterdir() if path.name.endswith(_ARCHIVES))
    if files:
        return files
    hint = "v2 is published as .tar.zst: unpack both archives beside metadata.parquet, or "
    v2 = any(source_dir.glob("*.tar.zst"))
    raise UserError(
        "no raw data of BigEarthNet are here: neither patch folders with both sensors, nor "
        f"metadata.parquet, {_PACKAGED} or {', '.join(_ARCHIVES)} archives",
        where=source_dir,
        fix=(hint if v2 else "") + _GET.format(card=card),
    )


def _children(parent: Path) -> list[Path]:
    """Folders directly below, patches left out; only the first entries are looked at, since a
    folder of patches has half a million."""
    with os.scandir(parent) as entries:
        first = list(islice(entries, 200))
    patches = (S1_NAME, S2_NAME)
    return sorted(
        Path(entry)
        for entry in first
        if entry.is_dir() and not any(name.fullmatch(entry.name) for name in patches)
    )


def _patch_root(parent: Path, name: re.Pattern[str]) -> Path | None:
    """The child of ``parent`` whose first entries are patch folders of this kind of name."""
    for child in _children(parent):
        with os.scandir(child) as entries:
            if any(name.fullmatch(entry.name) for entry in islice(entries, 20)):
                return child
    return None


def _v1_roots(folder: Path) -> dict[str, Path] | None:
    roots = {"S2": _patch_root(folder, S2_NAME), "S1": _patch_root(folder, S1_NAME)}
    return {key: root for key, root in roots.items() if root} if all(roots.values()) else None


def by_name(names: Iterable[str], where: object) -> dict[str, str]:
    """Names on disk by id; a patch that lies there under both spellings is a UserError."""
    disk: dict[str, str] = {}
    for name in names:
        if (S2_NAME if name.startswith("S2") else S1_NAME).fullmatch(name):
            if canonical(name) in disk:
                raise UserError(
                    f"'{name}' and '{disk[canonical(name)]}' are one patch",
                    where=where,
                    fix="keep one of the two",
                )
            disk[canonical(name)] = name
    return disk


def _v1(folder: Path) -> Layout:
    roots = _v1_roots(folder) or {}
    names = [name for root in roots.values() for name in sorted(os.listdir(root))]
    return Layout("BigEarthNet v1, folders", Folders(roots), by_name(names, folder))


def _packaged(folder: Path) -> Layout:
    path = folder / _PACKAGED
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
        s2 = [canonical(row["S2_ID"].strip()) for row in rows]
        pairs = {name: row["S1_ID"].strip() for name, row in zip(s2, rows, strict=True)}
        labels = {
            name: [label.strip() for label in row["S2_Labels"].split("|") if label.strip()]
            for name, row in zip(s2, rows, strict=True)
        }
    except (OSError, UnicodeDecodeError, KeyError, AttributeError, csv.Error) as error:
        raise UserError(
            f"not a readable table of labels ({error!r}): its columns are S1_ID, S2_ID, "
            "S1_Labels, S2_Labels",
            where=path,
            fix="get the file again",
        ) from error
    roots = {"S1": folder / "s1", "S2": folder / "s2"}
    names = [name for root in roots.values() for name in sorted(os.listdir(root))]
    return Layout(
        "packaged BEN-14K", Folders(roots), by_name(names, folder), pairs=pairs, labels=labels
    )


def _v2(folder: Path) -> Layout:
    path = folder / "metadata.parquet"
    try:
        import pyarrow.parquet as pq

        columns = ["patch_id", "labels", "s1_name", "s2v1_name"]
        table = pq.read_table(path, columns=columns)
        rows = list(zip(*(table[name].to_pylist() for name in columns), strict=True))
        ids = [canonical(str(row[3])) for row in rows]
        labels = {name: [str(x) for x in row[1]] for name, row in zip(ids, rows, strict=True)}
    except ImportError as error:
        raise UserError(
            "reading metadata.parquet needs pyarrow",
            where=path,
            fix="pip install 'crbench[parquet]'",
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:  # ArrowInvalid is a ValueError
        raise UserError(
            f"not a readable table of BigEarthNet v2 ({str(error).splitlines()[0]})",
            where=path,
            fix="get the file again",
        ) from error
    disk = {name: str(row[0]) for name, row in zip(ids, rows, strict=True)}
    disk.update((str(row[2]), str(row[2])) for row in rows)
    return Layout(
        "BigEarthNet v2 (reBEN), folders",
        Folders(
            {"S1": folder / "BigEarthNet-S1", "S2": folder / "BigEarthNet-S2"}, {"S1": 3, "S2": 2}
        ),
        disk,
        pairs={name: str(row[2]) for name, row in zip(ids, rows, strict=True)},
        labels=labels,
        notes=[
            "pixels and labels are those of BigEarthNet v2, which were made anew: scores do not "
            "compare with those on v1"
        ],
    )


# What it is called, what shows it, how it is opened; a folder is of the first form that it shows.
FORMS: tuple[tuple[str, Callable[[Path], object], Callable[[Path], Layout]], ...] = (
    ("packaged BEN-14K", lambda folder: (folder / _PACKAGED).is_file(), _packaged),
    ("BigEarthNet v2", lambda folder: (folder / "metadata.parquet").is_file(), _v2),
    ("BigEarthNet v1", _v1_roots, _v1),
)
