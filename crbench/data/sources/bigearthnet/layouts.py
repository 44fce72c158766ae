"""The forms in which BigEarthNet lies on disk, recognised by what a folder holds.

A layout says which patches are there, which file of the disk is theirs, and where pairs and
labels stand: in a JSON file beside each patch (v1) or in one table (v2, packaged BEN-14K).
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from crbench.data.sources.bigearthnet.members import S1_NAME, S2_NAME, canonical
from crbench.data.sources.raw import damage_named
from crbench.errors import UserError, needs

_COMPLETE = "complete the folder"
JSON = "_labels_metadata.json"
_PACKAGED = "benv1_14k_dataset_master_labels.csv"
_ARCHIVES = (".tar.gz", ".tgz", ".tar")
_GET = (
    "get BigEarthNet-v1.0.tar.gz and BigEarthNet-S1-v1.0.tar.gz from https://bigearth.net into one "
    "folder (unpacked v1, v2 with metadata.parquet, and the packaged benv1_14k do as well), then: "
    "crbench cache build {card} --source FOLDER"
)


@dataclass(frozen=True)
class PatchFiles:
    """Files of patches: a folder each, under the roots of its sensor ("S1", "S2"), of which the
    first that has a file counts; in v2 below a folder named by the patch's name without its last
    ``strip`` fields. ``names``: what messages call a root that is not the user's."""

    roots: Mapping[str, Sequence[Path]]
    strip: Mapping[str, int] = field(default_factory=dict)
    names: Mapping[Path, str] = field(default_factory=dict)

    def _folders(self, patch: str) -> list[Path]:
        strip = self.strip.get(patch[:2], 0)
        inner = Path(patch.rsplit("_", strip)[0] if strip else "", patch)
        return [root / inner for root in self.roots[patch[:2]]]

    def _path(self, patch: str, rest: str) -> Path:
        paths = [folder / f"{patch}{rest}" for folder in self._folders(patch)]
        return next((path for path in paths if path.is_file()), paths[0])

    def files(self, patch: str) -> dict[str, int]:
        """Bytes of each file of a patch by the rest of its name ("_B02.tif"); {} where absent.
        Empty files count as absent."""
        sizes: dict[str, int] = {}
        for folder in reversed(self._folders(patch)):
            with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
                sizes.update((entry.name, n) for entry in entries if (n := entry.stat().st_size))
        start = len(patch)
        return {name[start:]: n for name, n in sizes.items() if name.startswith(patch)}

    def fetch(self, patch: str, rest: str) -> bytes:
        """The bytes of a file."""
        where = self.where(patch, rest)
        with damage_named(f"cannot read a file of '{patch}'", where, OSError, fix=_COMPLETE):
            return self._path(patch, rest).read_bytes()

    def where(self, patch: str, rest: str) -> str:
        """Where this file lies, for messages."""
        path = self._path(patch, rest)
        for root, name in self.names.items():
            if path.is_relative_to(root):
                return f"{name}, {path.relative_to(root)}"
        return str(path)


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


def _listed(roots: Mapping[str, Path], where: Path) -> tuple[PatchFiles, dict[str, str]]:
    """Patch folders directly under a root per sensor, and their names on disk by id."""
    names = [name for root in roots.values() for name in sorted(os.listdir(root))]
    return PatchFiles({sensor: [root] for sensor, root in roots.items()}), by_name(names, where)


def _v1(folder: Path) -> Layout:
    return Layout("BigEarthNet v1, folders", *_listed(_v1_roots(folder) or {}, folder))


def _packaged(folder: Path) -> Layout:
    path = folder / _PACKAGED
    what = "not a readable table of labels: its columns are S1_ID, S2_ID, S1_Labels, S2_Labels"
    kinds = (OSError, UnicodeDecodeError, KeyError, AttributeError, csv.Error)
    pairs, labels = {}, {}
    with damage_named(what, path, *kinds), open(path, encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file):
            name = canonical(row["S2_ID"].strip())
            pairs[name] = row["S1_ID"].strip()
            labels[name] = [part for text in row["S2_Labels"].split("|") if (part := text.strip())]
    stored = _listed({"S1": folder / "s1", "S2": folder / "s2"}, folder)
    return Layout("packaged BEN-14K", *stored, pairs=pairs, labels=labels)


def _v2(folder: Path) -> Layout:
    path = folder / "metadata.parquet"
    with needs("parquet", "reading metadata.parquet", where=path):
        import pyarrow.parquet as pq
    what = "not a readable table of BigEarthNet v2"
    disk, pairs, labels = {}, {}, {}
    with damage_named(what, path, OSError, ValueError, KeyError, TypeError):  # as ArrowInvalid is
        columns = ["patch_id", "labels", "s1_name", "s2v1_name"]
        table = pq.read_table(path, columns=columns)
        for row in zip(*(table[name].to_pylist() for name in columns), strict=True):
            patch, names, s1, s2 = row
            name = canonical(str(s2))
            disk[name], pairs[name], labels[name] = str(patch), str(s1), [str(x) for x in names]
    roots = {sensor: [folder / f"BigEarthNet-{sensor}"] for sensor in ("S1", "S2")}
    return Layout(
        "BigEarthNet v2 (reBEN), folders",
        PatchFiles(roots, {"S1": 3, "S2": 2}),
        {**disk, **{name: name for name in pairs.values()}},
        pairs=pairs,
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
