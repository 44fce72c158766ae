"""Building and verifying caches.

A build lays out ``<name>.h5.part`` once, writes the pixels by plain writes at their HDF5 offsets
and notes each finished block in ``<name>.h5.part.log``. Killed at any moment, it goes on, and
keeps the blocks whose bytes still have the digest that the log says. At the end one pass over
the file makes digests and statistics, the end mark is set, and the file gets its name.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from crbench.cards import DatasetCard
from crbench.data import layout
from crbench.data.cache import Cache, open_cache
from crbench.data.scan import Scan, scan
from crbench.data.sources import Block, Source, open_source
from crbench.errors import UserError
from crbench.files import append_jsonl, disk_error, read_jsonl, sha256_json

if TYPE_CHECKING:
    from rich.progress import Progress

SHOWN = 10  # damaged samples named one by one, per array


def build_cache(
    card: DatasetCard,
    out: str | os.PathLike[str],
    *,
    source_dir: str | os.PathLike[str] | None = None,
    force: bool = False,
    quiet: bool = False,
) -> Path:
    """Read the source of ``card`` into a cache at ``out`` and return its path.

    A finished cache of the same card is left as it is; one of another card is refused unless
    ``force``. An interrupted build goes on where it stopped. Bad pixels, a full disk or a folder
    that cannot be written are a UserError, and whatever stood at ``out`` stays.
    """
    out = Path(out)
    if out.exists() and not force:
        existing = open_cache(out)
        if existing.card.digest == card.digest:
            _say(f"{out} is there already, made with the same card", quiet)
            return out
        raise UserError(
            f"there is a cache made with another card ('{existing.card.name}', {existing.n} pairs)",
            where=out,
            fix="--force replaces it, --out takes another place",
        )
    source = open_source(card, None if source_dir is None else Path(source_dir))
    _check_source(source, card)
    for note in source.notes:
        _say(note, quiet)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with _locked(out):
            return _build(card, source, out, quiet)
    except OSError as error:
        raise disk_error(error, out) from error


def _build(card: DatasetCard, source: Source, out: Path, quiet: bool) -> Path:
    part, log = _part(out), _log(out)
    n = len(source.ids)
    header = {
        "card": card.digest,
        "fingerprint": source.fingerprint,
        "members": sha256_json([source.ids, source.split]),
        "rows_per_block": source.rows_per_block,
    }
    done = _resumable(part, log, header)
    if done is None:
        os.truncate(log, 0)
        _create(card, source, part)
        append_jsonl(log, {**header, "size": part.stat().st_size})
        done = {}
    elif done:
        _say(f"going on with {part}", quiet)
    places = layout.places(part)
    with _progress(quiet) as progress:
        task = progress.add_task(f"{card.name}: pixels", total=n)
        with open(part, "r+b", buffering=0) as handle:
            for start in range(0, n, source.rows_per_block):
                stop = min(start + source.rows_per_block, n)
                if start not in done or done[start] != _on_disk(handle, places, start, stop):
                    block = source.read(start, stop)
                    arrays = _checked(block, card, source, start, stop)
                    digest = _write(handle, places, arrays, start)
                    append_jsonl(log, {"start": start, "sha256": digest})
                progress.advance(task, stop - start)
            os.fsync(handle.fileno())
        train = np.isin(source.split, card.train_splits)
        layout.seal(part, _scan_all(part, train, f"{card.name}: digests", progress))
    with open(part, "rb") as handle:
        os.fsync(handle.fileno())
    os.replace(part, out)
    log.unlink()
    return out


def _part(out: Path) -> Path:
    return out.with_name(out.name + ".part")


def _log(out: Path) -> Path:
    return out.with_name(out.name + ".part.log")


def _say(text: str, quiet: bool) -> None:
    if not quiet:
        print(text, file=sys.stderr)


def _progress(quiet: bool) -> Progress:
    """A bar with time left on standard error."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), disable=quiet)


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Hold the lock of this build: a second one would write into the same blocks."""
    try:
        import fcntl
    except ImportError:  # a system without such locks: two builds at once are the user's to avoid
        _log(out).touch()
        yield
        return
    with open(_log(out), "ab") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                "another build is writing this cache", where=out, fix="wait until it has finished"
            ) from None
        yield


def _resumable(part: Path, log: Path, header: dict[str, Any]) -> dict[int, str] | None:
    """Digests of the blocks that an earlier build finished; None where it has to start anew."""
    lines = read_jsonl(log)
    if not part.is_file() or not lines or part.stat().st_size != lines[0].pop("size", None):
        return None
    if lines[0] != header:
        return None
    try:
        layout.places(part)
    except (OSError, KeyError, RuntimeError):
        return None
    return {int(line["start"]): str(line["sha256"]) for line in lines[1:]}


def _create(card: DatasetCard, source: Source, part: Path) -> None:
    """Lay the file out, after a look whether it will fit."""
    arrays = layout.image_arrays(card, len(source.ids)).values()
    need = sum(int(np.prod(shape)) * dtype.itemsize for shape, dtype in arrays)
    part.unlink(missing_ok=True)
    free = shutil.disk_usage(part.parent).free
    if need > free:
        raise UserError(
            f"no space left: the cache needs {need / 1e9:.2f} GB, {free / 1e9:.2f} GB are free",
            where=part,
            fix="free some space or choose another --out",
        )
    with open(part, "wb") as probe:  # a limit on file sizes shows here, as an error with a number
        probe.truncate(need)
    try:
        layout.lay_out(card, source, part)
    except RuntimeError as error:  # h5py reports a failing close in this way
        raise UserError(f"cannot lay out the cache: {error}", where=part) from error


def _check_source(source: Source, card: DatasetCard) -> None:
    """Ids unique, and every split that the card names present."""
    if not source.ids:
        raise UserError("the source has no pairs", where=source.description)
    if len(set(source.ids)) != len(source.ids):
        names, counts = np.unique(source.ids, return_counts=True)
        raise UserError(f"the id '{names[counts > 1][0]}' repeats", where=source.description)
    wanted = {name for p in card.protocols.values() for name in [*p.query, *p.gallery]}
    if absent := sorted((wanted | set(card.train_splits)) - set(source.split)):
        raise UserError(
            f"no pair is in split '{absent[0]}', which the card '{card.name}' uses",
            where=source.description,
            fix="correct the splits of the card",
        )


def _checked(
    block: Block, card: DatasetCard, source: Source, start: int, stop: int
) -> dict[str, np.ndarray]:
    """The arrays of a block as they will lie in the file; bad pixels are named by their id."""
    n = stop - start
    wanted = layout.image_arrays(card, n)
    if label := layout.label_array(card, n):
        wanted["labels"] = label
    checked = {}
    for name, (shape, dtype) in wanted.items():
        array = getattr(block, name)
        if array is None or array.shape != shape or array.dtype.newbyteorder("<") != dtype:
            found = "nothing" if array is None else f"{array.dtype} {array.shape}"
            raise UserError(
                f"{name} of rows {start} to {stop - 1} is {found}, the card says {dtype} {shape}",
                where=source.description,
                fix="correct the card's size, bands or dtype",
            )
        if dtype.kind == "f" and not (fine := np.isfinite(array).all(axis=(1, 2, 3))).all():
            row = start + int(np.flatnonzero(~fine)[0])
            raise UserError(
                f"{name} of '{source.ids[row]}' has pixels that are NaN or infinite",
                where=source.description,
                fix="mend or leave out this pair",
            )
        checked[name] = np.ascontiguousarray(array, dtype=dtype)
    return checked


def _span(places: dict[str, layout.Place], name: str, start: int, stop: int) -> tuple[int, int]:
    """Offset and length in bytes of rows start…stop of an array."""
    offset, dtype, shape = places[name]
    row = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
    return offset + start * row, (stop - start) * row


def _write(
    handle: Any, places: dict[str, layout.Place], arrays: dict[str, np.ndarray], start: int
) -> str:
    """Write a block at its place; SHA-256 of what was written."""
    digest = hashlib.sha256()
    for name in ("a", "b", "labels"):
        if name in arrays:
            raw = arrays[name].reshape(-1).view(np.uint8).data
            digest.update(raw)
            handle.seek(_span(places, name, start, start + 1)[0])
            while raw:  # an unbuffered write may take only a part, the last one before ENOSPC
                raw = raw[handle.write(raw) :]
    return digest.hexdigest()


def _on_disk(handle: Any, places: dict[str, layout.Place], start: int, stop: int) -> str:
    """SHA-256 of a block as it lies in the file now."""
    digest = hashlib.sha256()
    for name in ("a", "b", "labels"):
        if name in places:
            offset, length = _span(places, name, start, stop)
            handle.seek(offset)
            while length and (raw := handle.read(length)):
                digest.update(raw)
                length -= len(raw)
    return digest.hexdigest()


def _scan_all(
    path: Path, train: np.ndarray | None, title: str, progress: Progress
) -> dict[str, Scan]:
    """Scan every array of the file; with ``train`` (N,) bool, statistics of the images too."""
    found = layout.places(path)
    maps = {
        name: np.memmap(path, dtype, "r", offset, shape)
        for name, (offset, dtype, shape) in found.items()
    }
    task = progress.add_task(title, total=sum(array.nbytes for array in maps.values()) >> 20)
    read = 0

    def advance(count: int) -> None:
        nonlocal read
        read += count
        progress.update(task, completed=read >> 20)

    return {
        name: scan(array, train=train if name in ("a", "b") else None, advance=advance)
        for name, array in maps.items()
    }


def verify_cache(path: str | os.PathLike[str], quiet: bool = False) -> list[str]:
    """Read everything again; problems in words, by array and sample, none for a sound cache.

    A file that is missing, unfinished, cut or no cache at all is a UserError, as on opening.
    """
    cache = open_cache(path)
    with _progress(quiet) as progress:
        scans = _scan_all(cache.path, None, f"{cache.card.name}: reading", progress)
    with h5py.File(cache.path, "r") as file:
        stored = {name: file["checks"][name][:] for name in scans}
        header_sound = layout.header_digest(file) == cache.attributes["/"]["header_sha256"]
    problems = [] if header_sound else ["the attributes (card, bands, statistics) are damaged"]
    for name, found in scans.items():
        rows = np.flatnonzero((found.checks != stored[name]).any(1))
        if found.sha256 != cache.array_digests.get(name):
            problems += _named(cache, name, rows, "is damaged")
            if not len(rows):
                problems.append(f"{name}: the digest of the array does not fit its bytes")
        else:
            problems += _named(cache, name, rows, "is sound, but its stored digest is damaged")
    return problems + _label_problems(cache)


def _named(cache: Cache, name: str, rows: np.ndarray, what: str) -> list[str]:
    named = [f"{name}: sample '{cache.ids[row]}' (row {row}) {what}" for row in rows[:SHOWN]]
    return named + ([f"{name}: and {len(rows) - SHOWN} more samples"] if len(rows) > SHOWN else [])


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
