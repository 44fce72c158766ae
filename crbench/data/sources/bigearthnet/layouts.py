"""The forms in which BigEarthNet lies on disk, recognised by what a folder holds.

A layout says which patches are there, which file of the disk is theirs, and where pairs and
labels stand: in a JSON file beside each patch (v1) or in one table (v2, packaged BEN-14K).
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from crbench.cards import DatasetCard
from crbench.data.cache.reading import is_stacked_zip, stacked_set
from crbench.data.sources.bigearthnet.members import S1_NAME, S2_NAME, canonical
from crbench.data.sources.raw import damage_named, how_to_get, named_source
from crbench.errors import UserError, needs

_COMPLETE = "complete the folder"
JSON = "_labels_metadata.json"
_PACKAGED = "benv1_14k_dataset_master_labels.csv"
_ARCHIVES = (".tar.gz", ".tgz", ".tar")


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


def find_layout(card: DatasetCard, source_dir: Path | None) -> Layout | list[Path]:
    """The layout of a folder, or the archives that must be read first.

    A folder that holds none, or more than one, is a UserError that says what was looked for.
    """
    source = named_source(card, source_dir)
    if source.is_file():
        if is_stacked_zip(source):
            raise stacked_set(source)
        return [source]
    for folder in (source, *_children(source)):
        if next(folder.glob("BigEarthNet-S2/train/*.tif"), None):
            raise stacked_set(folder)
    layouts = {
        folder: layout
        for folder in (source, *_children(source))
        if (layout := _packaged(folder) or _v2(folder) or _v1(folder))
    }
    if len(layouts) > 1:
        named = "; ".join(f"{layout.title} in {folder}" for folder, layout in layouts.items())
        raise UserError(
            f"more than one set of raw data is here: {named}",
            where=source,
            fix="name one of these folders with --source",
        )
    if layouts:
        return next(iter(layouts.values()))
    if stacked := next(filter(is_stacked_zip, sorted(source.glob("*.zip"))), None):
        raise stacked_set(stacked)
    files = sorted(path for path in source.iterdir() if path.name.endswith(_ARCHIVES))
    if files:
        return files
    zst = "unpack both .tar.zst archives of v2 beside metadata.parquet, or "
    raise UserError(
        "no raw data of BigEarthNet are here: neither patch folders with both sensors, nor "
        f"metadata.parquet, {_PACKAGED} or {', '.join(_ARCHIVES)} archives",
        where=source,
        fix=(zst if any(source.glob("*.tar.zst")) else "") + how_to_get(card),
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


def _v1(folder: Path) -> Layout | None:
    s1, s2 = _patch_root(folder, S1_NAME), _patch_root(folder, S2_NAME)
    if s1 is None or s2 is None:
        return None
    return Layout("BigEarthNet v1, folders", *_listed({"S1": s1, "S2": s2}, folder))


def _packaged(folder: Path) -> Layout | None:
    path = folder / _PACKAGED
    if not path.is_file():
        return None
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


def _v2(folder: Path) -> Layout | None:
    path = folder / "metadata.parquet"
    if not path.is_file():
        return None
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
