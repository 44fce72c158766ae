"""The other BEN-14K: stacked GeoTIFFs, ten bands a patch, as its copies on the web hold them.

``BEN_14k/BigEarthNet-S2/{train,validation,test}/<patch_id>.tif`` (10 × uint16) and
``BigEarthNet-S1/<split>/<s1_name>.tif`` (2 × float32, dB), paired by the index of BigEarthNet v2,
``metadata.parquet`` beside or inside. Read from the zip as it is, without unpacking, or unpacked.
It is another set than the 14,832 patches of ``ben-14k``.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crbench.cards import DatasetCard, ModalityCard, Strict, parse
from crbench.data.cache.reading import STACKED_FILE, is_stacked_zip
from crbench.data.sources import Block, Source
from crbench.data.sources.bigearthnet import tiff
from crbench.data.sources.bigearthnet.corine import classes_of_names, multi_hot
from crbench.data.sources.bigearthnet.order import STACKED, check_optical, radar_order
from crbench.data.sources.raw import counted, damage_named, named_source, some
from crbench.errors import UserError, needs
from crbench.files import sha256_json

_SPLITS = {"train": "train", "validation": "val", "test": "test"}
_INDEX = "metadata.parquet"
_SAMPLE = 200  # patches whose means tell the order of the bands
_MOST = 2**22  # bytes of a patch: ten bands of 120 × 120 have 288,000
_NAME = re.compile(r"S2[AB]_MSIL2A_(\d{8})T\d+_N\d+_R\d+_T(\w{5})_\d+_\d+")


class _StackedTable(Strict):
    """``[source]``: nothing to choose but whether pairs may lack their partner."""

    kind: str
    allow_missing: bool = True


@dataclass(frozen=True)
class _Files:
    """Files of the set by sensor, split and name, and how one is read."""

    where: Path
    paths: Mapping[tuple[str, str], Mapping[str, str]]  # (S1 or S2, folder of the split) → name
    read: Callable[[str], bytes]
    index: Callable[[], Any]  # the parquet file, as pyarrow takes it
    total: int  # bytes of all files


def open_stacked(card: DatasetCard, source_dir: Path | None) -> Source:
    """The pairs of the set with both sensors, in the order of their splits and ids."""
    table = parse(_StackedTable, card.source, where=f"{card.name}, [source]")
    if list(card.b.bands) != list(STACKED) or set(card.a.bands) != {"VV", "VH"}:
        what = f"the stacked BEN-14K has the bands VV, VH and {', '.join(STACKED)}"
        raise UserError(what, where=f"{card.name}, bands", fix="correct the card")
    files = _find(card, named_source(card, source_dir))
    labels, partners = _read_index(files)
    pairs, alone = _paired(files, partners)
    counts = {split: sum(part == split for part, _, _ in pairs) for split in _SPLITS}
    if not pairs:
        raise UserError("no patch has its partner", where=files.where, fix="complete the set")
    if alone and not table.allow_missing:
        raise UserError(f"{len(alone):,} patches lack their partner: {some(alone)}",
                        where=files.where, fix="complete the set")  # fmt: skip
    notes = [
        "the other BEN-14K: stacked patches of ten bands, not the 14,832 of ben-14k",
        f"pairs with both sensors: {counted(counts)}",
    ]
    if alone:
        notes.append(f"{len(alone):,} patches without a partner: {some(alone, 20)}")
    sample = [
        pairs[k] for k in np.linspace(0, len(pairs) - 1, min(_SAMPLE, len(pairs))).astype(int)
    ]
    radar = radar_order(_means(files, card.a, "S1", sample), files.where)
    check_optical(_means(files, card.b, "S2", sample), files.where)
    if radar == (1, 0):
        notes.append("radar is stored as VH, VV, as its levels show, and read as VV, VH")
    ids = [name for _, name, _ in pairs]
    return Source(
        ids=ids,
        split=[_SPLITS[part] for part, _, _ in pairs],
        read=_reader(card, files, pairs, labels, radar),
        description=f"{len(pairs):,} pairs of the stacked BEN-14K ({files.where.name})",
        fingerprint=f"ben14k-10 1 {sha256_json([files.total, ids])}",
        rows_per_block=64,
        notes=notes,
        groups=[_ground(name) for name in ids],
        missing=None,
    )


def _find(card: DatasetCard, source: Path) -> _Files:
    """The set in a zip, in a folder that holds one, or unpacked in a folder or one below it."""
    if source.is_file():
        candidates = [source] if is_stacked_zip(source) else []
    else:
        below = sorted(path for path in source.iterdir() if path.is_dir())
        folders = [
            folder for folder in (source, *below) if (folder / "BigEarthNet-S2/train").is_dir()
        ]
        candidates = folders or [
            path for path in sorted(source.glob("*.zip")) if is_stacked_zip(path)
        ]
    if len(candidates) != 1:
        raise UserError(
            "no stacked BEN-14K is here (a zip or folder with BigEarthNet-S2/train/*.tif)"
            if not candidates
            else f"more than one set is here: {some([path.name for path in candidates])}",
            where=source,
            fix="name the zip or its folder; patch folders, archives and v2 of BigEarthNet are "
            "another set: crbench cache build ben-14k --source DIR",
        )
    return _in_zip(candidates[0]) if candidates[0].is_file() else _in_folder(candidates[0])


def _in_zip(path: Path) -> _Files:
    kinds = (OSError, zipfile.BadZipFile, EOFError)
    with damage_named("not a readable zip", path, *kinds):
        archive = zipfile.ZipFile(path)
    infos = {info.filename: info for info in archive.infolist()}

    def read(name: str) -> bytes:
        if infos[name].file_size > _MOST:
            what = f"{infos[name].file_size:,} bytes are more than any patch has"
            raise UserError(what, where=f"{path}, {name}", fix="get the archive again")
        with damage_named("a member cannot be read", f"{path}, {name}", *kinds, zipfile.error):
            return archive.read(name)

    def index() -> Any:
        beside = path.with_name(_INDEX)
        if beside.is_file():
            return beside
        inside = [name for name in infos if Path(name).name == _INDEX]
        if not inside:
            raise _no_index(path)
        with damage_named("the index cannot be read", path, *kinds):
            return io.BytesIO(archive.read(inside[0]))

    total = sum(info.file_size for info in infos.values())
    return _Files(path, _by_split(list(infos), path), read, index, total)


def _in_folder(folder: Path) -> _Files:
    names = [
        str(path.relative_to(folder)) for path in sorted(folder.glob("BigEarthNet-S*/*/*.tif"))
    ]
    files = [folder / name for name in names]

    def read(name: str) -> bytes:
        with damage_named("cannot read a patch", folder / name, OSError):
            if (folder / name).stat().st_size > _MOST:
                what = "more bytes than any patch has"
                raise UserError(what, where=folder / name, fix="get the set again")
            return (folder / name).read_bytes()

    def index() -> Any:
        near = [place / _INDEX for place in (folder, folder.parent) if (place / _INDEX).is_file()]
        if not near:
            raise _no_index(folder)
        return near[0]

    total = sum(path.stat().st_size for path in files)
    return _Files(folder, _by_split(names, folder), read, index, total)


def _no_index(where: Path) -> UserError:
    return UserError(
        f"no {_INDEX} is inside or beside it, which pairs the patches",
        where=where,
        fix="put it beside: it is the index of BigEarthNet v2, which comes with the archive",
    )


def _by_split(names: list[str], where: Path) -> dict[tuple[str, str], dict[str, str]]:
    paths: dict[tuple[str, str], dict[str, str]] = {}
    for name in names:
        if match := STACKED_FILE.fullmatch(name):
            part = paths.setdefault((match["sensor"], match["split"]), {})
            if match["patch"] in part:
                raise UserError(f"'{match['patch']}' stands twice", where=where, fix="keep one")
            part[match["patch"]] = name
    return paths


def _read_index(files: _Files) -> tuple[dict[str, list[str]], dict[str, str]]:
    """Labels and Sentinel-1 names of the patches that are there, by patch."""
    with needs("parquet", f"reading {_INDEX}", where=files.where):
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq
    there = [name for (sensor, _), part in files.paths.items() if sensor == "S2" for name in part]
    what, kinds = (
        f"not the index of BigEarthNet v2 ({_INDEX})",
        (OSError, ValueError, KeyError, TypeError),
    )
    with damage_named(what, files.where, *kinds):  # as ArrowInvalid is
        columns = ["patch_id", "labels", "s1_name"]
        table = pq.read_table(files.index(), columns=columns)
        table = table.filter(pc.is_in(table["patch_id"], pa.array(there, pa.string())))
        rows = zip(*(table[name].to_pylist() for name in columns), strict=True)
        labels, partners = {}, {}
        for patch, names, s1 in rows:
            labels[patch], partners[patch] = [str(name) for name in names], str(s1)
    return labels, partners


def _paired(
    files: _Files, partners: Mapping[str, str]
) -> tuple[list[tuple[str, str, str]], list[str]]:
    """(folder of the split, Sentinel-2 name, Sentinel-1 name) of every pair, and names without a
    partner in their split or without an entry of the index."""
    pairs, alone = [], []
    for split in _SPLITS:
        s1, s2 = (files.paths.get((sensor, split), {}) for sensor in ("S1", "S2"))
        used = set()
        for name in sorted(s2):
            partner = partners.get(name)
            if partner in s1:
                pairs.append((split, name, str(partner)))
                used.add(partner)
            else:
                alone.append(name)
        alone += sorted(set(s1) - used)
    return pairs, alone


def _ground(patch: str) -> str:
    """Tile and day of a patch of v2, ``"33UUP/20170613"``."""
    match = _NAME.fullmatch(patch)
    return f"{match[2]}/{match[1]}" if match else "unknown/unknown"


def _patch(files: _Files, modality: ModalityCard, sensor: str, split: str, name: str) -> np.ndarray:
    """All bands of a patch as stored, (C, H, W), checked against size and dtype of the card."""
    path = files.paths[sensor, split][name]
    where = f"{files.where}, {path}"
    return tiff.stack(files.read(path), modality, where=where)


def _means(
    files: _Files, modality: ModalityCard, sensor: str, pairs: list[tuple[str, str, str]]
) -> np.ndarray:
    with tiff.reading():
        patches = (
            _patch(files, modality, sensor, split, s2 if sensor == "S2" else s1)
            for split, s2, s1 in pairs
        )
        return np.array([patch.mean(axis=(1, 2), dtype=np.float64) for patch in patches])


def _reader(
    card: DatasetCard,
    files: _Files,
    pairs: list[tuple[str, str, str]],
    labels: Mapping[str, list[str]],
    radar: tuple[int, int],
) -> Callable[[int, int], Block]:
    table, classes = classes_of_names(), card.labels.classes
    chosen = [radar[("VV", "VH").index(band)] for band in card.a.bands]

    def read(start: int, stop: int) -> Block:
        rows = pairs[start:stop]
        with tiff.reading():
            a = [_patch(files, card.a, "S1", split, s1)[chosen] for split, _, s1 in rows]
            b = [_patch(files, card.b, "S2", split, s2) for split, s2, _ in rows]
        hot = [multi_hot(labels[s2], table, classes, where=s2) for _, s2, _ in rows]
        return Block(np.stack(a), np.stack(b), np.stack(hot))

    return read
