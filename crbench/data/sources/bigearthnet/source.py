"""BEN-14K as a source: its members found in whatever layout is there, read by range of rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crbench.cards import DatasetCard, ModalityCard, Strict, parse
from crbench.data.sources import Block, Packed, Source
from crbench.data.sources.bigearthnet import tiff
from crbench.data.sources.bigearthnet.archives import unpack_archives
from crbench.data.sources.bigearthnet.corine import classes_of_names, multi_hot
from crbench.data.sources.bigearthnet.layouts import JSON, Layout, find_layout
from crbench.data.sources.bigearthnet.members import (
    S1_NAME,
    SHIPPED,
    Wanted,
    canonical,
    ground,
    position,
    shipped,
    splits,
    wanted,
)
from crbench.data.sources.raw import damage_named, some
from crbench.errors import UserError
from crbench.files import sha256_json

_SENSORS = {"a": "S1", "b": "S2"}


class _Ben14kTable(Strict):
    """``[source]``: which patches, and whether the cache may lack some of them."""

    kind: str
    members: str = SHIPPED
    members_sha256: str | None = None
    allow_missing: bool = False
    seed: int = 0


def open_bigearthnet(card: DatasetCard, source_dir: Path | None) -> Source | Packed:
    """The pairs that the card asks for, from folders, or from archives that are streamed once."""
    table = parse(_Ben14kTable, card.source, where=f"{card.name}, [source]")
    _check_card(card)
    want = wanted(table.members, table.members_sha256)
    raw = find_layout(card, source_dir)
    if isinstance(raw, Layout):
        return _assemble(card, table, want, raw)

    def unpack(folder: Path, quiet: bool) -> Source:
        choice = ["all"] if want is None else [want.ids, sorted(want.s1.items())]
        layout = unpack_archives(raw, folder, _keep(want), sha256_json(choice), quiet)
        return _assemble(card, table, want, layout)

    return unpack


def _check_card(card: DatasetCard) -> None:
    """Bands that BigEarthNet has, at sizes that its 20 m and 60 m bands divide."""
    for which, sensor in _SENSORS.items():
        modality = card.modality(which)
        bands = [name for name in tiff.FACTORS if name.startswith("V") == (sensor == "S1")]
        if strange := [name for name in modality.bands if name not in bands]:
            raise UserError(
                f"{which}.bands: {sensor} has no band '{strange[0]}'",
                where=card.name,
                fix=f"bands: {', '.join(bands)}",
            )
        if any(side % tiff.FACTORS[name] for name in modality.bands for side in modality.size):
            raise UserError(
                f"{which}.size {list(modality.size)} is no multiple of 6",
                where=card.name,
                fix="its 60 m bands have a sixth of its pixels along a side; BigEarthNet has 120",
            )


def _keep(want: Wanted | None) -> Any:
    """Which patches a stream keeps, by canonical name. Where the partner of an id is not known,
    all Sentinel-1 patches at its position in a tile are kept: their JSON tells which it is."""
    if want is None:
        return lambda name: True
    s1 = {want.s1[name] for name in want.ids if name in want.s1}
    s2 = set(want.ids)
    open_positions = {position(name) for name in want.ids if name not in want.s1}
    return lambda name: (
        name in s2 or name in s1 or (name.startswith("S1") and position(name) in open_positions)
    )


def _assemble(
    card: DatasetCard, table: _Ben14kTable, want: Wanted | None, layout: Layout
) -> Source:
    everything = sorted(name for name in layout.disk if name.startswith("S2"))
    asked_for = everything if want is None else want.ids
    partners = _partners(asked_for, want, layout)
    sizes = _whole_pairs(card, asked_for, partners, layout)
    ids, s1 = list(sizes), [partners[name] for name in sizes]
    missing = [name for name in asked_for if name not in sizes]
    notes = [f"layout: {layout.title}", *layout.notes]
    if want is None:
        notes.append(f"{len(ids):,} pairs, all that are whole")
        if missing:
            what = f"{len(missing):,} Sentinel-2 patches lack a band, labels or their partner"
            notes.append(f"{what}: {some(missing)}")
        known, missing = shipped().split, []  # nobody asked for these
    else:
        known, total = want.split, len(asked_for)
        if missing and not table.allow_missing:
            raise UserError(
                f"{len(missing):,} of {total:,} patches are missing or lack a file: "
                f"{some(missing)}",
                where=layout.title,
                fix="complete the raw data, or go on without these: --allow-missing",
            )
        notes.append(f"{len(ids):,} of {total:,} pairs of {want.title}, {len(missing):,} missing")
        if missing:
            notes.append(f"missing: {some(missing)}")
        if other := sum(want.s1.get(name, partners[name]) != partners[name] for name in ids):
            notes.append(f"{other:,} pairs join another Sentinel-1 patch than the list says")
    if drawn := sum(name not in known for name in ids):
        notes.append(f"{drawn:,} of them are in no list: split drawn by hash of the id")
    return Source(
        ids=ids,
        split=splits(ids, known, table.seed),
        read=_reader(card, layout, ids, s1),
        description=f"{len(ids):,} pairs of BigEarthNet ({layout.title})",
        fingerprint=f"ben14k 1 {sha256_json([layout.title, s1, list(sizes.values())])}",
        rows_per_block=32,
        notes=notes,
        resampling=tiff.RESAMPLING,
        groups=list(map(ground, ids, s1)),
        missing=len(missing),
    )


def _whole_pairs(
    card: DatasetCard, ids: Iterable[str], partners: Mapping[str, str], layout: Layout
) -> dict[str, int]:
    """Bytes of each pair that is there whole: every band of both patches, and the labels."""
    rests = {
        sensor: {f"_{name}.tif" for name in card.modality(which).bands}
        for which, sensor in _SENSORS.items()
    }
    if layout.labels is None:
        rests["S2"].add(JSON)
    sizes = {}
    for name in ids:
        files = {
            sensor: layout.store.files(layout.disk[patch]) if patch in layout.disk else {}
            for sensor, patch in (("S1", partners.get(name, "")), ("S2", name))
        }
        labelled = layout.labels is None or name in layout.labels
        if labelled and all(rests[sensor] <= files[sensor].keys() for sensor in files):
            sizes[name] = sum(files[sensor][rest] for sensor in files for rest in rests[sensor])
    return sizes


def _partners(ids: Sequence[str], want: Wanted | None, layout: Layout) -> dict[str, str]:
    """The Sentinel-1 name of each id: from the layout's table, else from the list, else from the
    JSON files of the Sentinel-1 patches at the same positions."""
    known = dict(want.s1) if want is not None else {}
    if layout.pairs is not None:
        return {**known, **layout.pairs}
    if unknown := [name for name in ids if name not in known]:
        positions = {position(name) for name in unknown}
        for name in layout.disk:
            if S1_NAME.fullmatch(name) and (want is None or position(name) in positions):
                partner = _json(layout, name).get("corresponding_s2_patch")
                known.setdefault(canonical(str(partner)), name)
    return known


def _json(layout: Layout, patch: str) -> dict[str, Any]:
    """The metadata of a patch; {} where a Sentinel-1 patch has none."""
    name = layout.disk[patch]
    if JSON not in layout.store.files(name):
        return {}
    where = layout.store.where(name, JSON)
    with damage_named("not a JSON file", where, ValueError):
        metadata = json.loads(layout.store.fetch(name, JSON))
    if not isinstance(metadata, dict):
        raise UserError("no table of metadata", where=where, fix="get the file again")
    return metadata


def _reader(card: DatasetCard, layout: Layout, ids: list[str], partners: list[str]) -> Any:
    table = classes_of_names()
    store, disk = layout.store, layout.disk

    def images(modality: ModalityCard, patches: Sequence[str]) -> np.ndarray:
        """(n, C, H, W): every band at its native size, then all rows of a band resampled."""
        bands = []
        for name in modality.bands:
            rest = f"_{name}.tif"
            native = [
                tiff.band(store.fetch(patch, rest), name, modality, where=store.where(patch, rest))
                for patch in map(disk.__getitem__, patches)
            ]
            bands.append(tiff.to_common_size(np.stack(native), modality.size))
        return np.stack(bands, axis=1)

    def labels(name: str, s1: str) -> np.ndarray:
        where = store.where(disk[name], JSON)
        if layout.labels is not None:
            return multi_hot(layout.labels[name], table, card.labels.classes, where=name)
        partner = _json(layout, s1).get("corresponding_s2_patch", name)
        if canonical(str(partner)) != name:
            raise UserError(
                f"'{s1}' belongs to '{partner}', not to '{name}'",
                where=store.where(disk[s1], JSON),
                fix="correct the list of members",
            )
        names = _json(layout, name).get("labels")
        if not isinstance(names, list):
            raise UserError("no 'labels' in the metadata", where=where, fix="get the file again")
        return multi_hot(map(str, names), table, card.labels.classes, where=where)

    def read(start: int, stop: int) -> Block:
        s1, s2 = partners[start:stop], ids[start:stop]
        with tiff.reading():
            a, b = images(card.a, s1), images(card.b, s2)
        return Block(a, b, np.stack(list(map(labels, s2, s1))))

    return read
