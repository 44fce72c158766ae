"""Verifying a cache: read everything again and name what is damaged, by array and sample."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np

from crbench.data.cache import layout
from crbench.data.cache.quality import not_finite, oddities
from crbench.data.cache.reading import HDF5_ERRORS, Cache, brief, open_cache
from crbench.data.cache.scan import Scan, scan
from crbench.progress import bar
from crbench.words import MODALITIES

_SHOWN = 10  # damaged samples named one by one, per array


def scan_all(path: Path, train: np.ndarray | None, title: str, quiet: bool) -> dict[str, Scan]:
    """Scan every array of the file; with ``train`` (N,) bool, statistics of the images too."""
    spans = layout.spans(path)
    maps = {
        name: np.memmap(path, dtype, "r", offset, shape)
        for name, (offset, dtype, shape) in spans.items()
    }
    with bar(title, sum(array.nbytes for array in maps.values()), "bytes", quiet=quiet) as shown:
        return {
            name: scan(array, train=train if name in MODALITIES else None, advance=shown.advance)
            for name, array in maps.items()
        }


def verify_cache(path: str | os.PathLike[str], quiet: bool = False) -> tuple[list[str], list[str]]:
    """Read everything again; problems (damage, NaN) and findings (see quality.py), in words.

    A file that is missing, unfinished, cut or no cache at all is a UserError, as on opening.
    """
    cache = open_cache(path)
    try:
        scans = scan_all(cache.path, None, f"{cache.card.name}: reading", quiet)
        with h5py.File(cache.path, "r") as file:
            stored = {name: file["checks"][name][:] for name in scans}
            header_sound = layout.header_digest(file) == cache.attributes["/"].get("header_sha256")
    except HDF5_ERRORS as error:
        return [f"the structure of the file is damaged ({brief(error)})"], []
    problems = [] if header_sound else ["the attributes (card, bands, statistics) are damaged"]
    for name, result in scans.items():
        rows = np.flatnonzero((result.checks != stored[name]).any(1))
        if result.sha256 != cache.array_digests.get(name):
            problems += _named(cache, name, rows, "is damaged")
            if not len(rows):
                problems.append(f"{name}: the digest of the array does not fit its bytes")
        else:
            problems += _named(cache, name, rows, "is sound, but its stored digest is damaged")
    for which in MODALITIES:
        problems += not_finite(cache, which, scans[which])
    return problems + _label_problems(cache), oddities(cache, scans)


def _named(cache: Cache, name: str, rows: np.ndarray, what: str) -> list[str]:
    named = [f"{name}: sample '{cache.ids[row]}' (row {row}) {what}" for row in rows[:_SHOWN]]
    more = [f"{name}: and {len(rows) - _SHOWN} more samples"] if len(rows) > _SHOWN else []
    return named + more


def _label_problems(cache: Cache) -> list[str]:
    """Labels outside their range, ids that repeat."""
    problems = []
    if len(np.unique(cache.ids)) != cache.n:
        problems.append("ids: some repeat")
    if cache.labels is not None:
        top = 1 if cache.labels.ndim == 2 else len(cache.card.labels.classes) - 1
        bad = (cache.labels < 0) | (cache.labels > top)
        rows = np.flatnonzero(bad.reshape(cache.n, -1).any(1))
        problems += _named(cache, "labels", rows, f"has a label outside 0 to {top}")
    return problems
