"""Building caches.

A build lays out ``<name>.h5.part`` once, writes the pixels by plain writes at their HDF5 offsets
and notes each finished block in ``<name>.h5.part.log``. Killed at any moment, it goes on, and
keeps the blocks whose bytes still have the digest that the log says. At the end one pass over
the file makes digests and statistics, the end mark is set, and the file gets its name.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from crbench.cards import DatasetCard
from crbench.data.cache import blocks, layout
from crbench.data.cache.quality import oddities
from crbench.data.cache.reading import array_table, open_cache
from crbench.data.cache.verify import scan_all
from crbench.data.sources import Source, open_source
from crbench.data.sources.landsat7 import as_scenes
from crbench.errors import UserError
from crbench.files import append_jsonl, disk_error, held, read_jsonl, sha256_json
from crbench.progress import bar


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
    if out.is_dir():
        raise UserError("this is a folder, not a cache file", where=out, fix="name a file in it")
    if out.exists() and not force:
        existing = open_cache(out)
        if as_scenes(existing.card).content == as_scenes(card).content:
            _say(f"{out} is there already, made with the same card", quiet)
            return out
        raise UserError(
            f"there is a cache made with {_other_card(existing.card, card)}, {existing.n} pairs",
            where=out,
            fix="--force replaces it, --out takes another place",
        )
    source = open_source(card, None if source_dir is None else Path(source_dir))
    if isinstance(source, Source):  # what can be said before anything is written is said then
        _check_source(source, card)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with _locked(out):
            if not isinstance(source, Source):
                source = source(_beside(out, ".part.raw"), quiet)
                _check_source(source, card)
            for note in source.notes:
                _say(note, quiet)
            return _build(card, source, out, quiet)
    except OSError as error:
        raise disk_error(error, out) from error


def _build(card: DatasetCard, source: Source, out: Path, quiet: bool) -> Path:
    part, log = _beside(out, ".part"), _beside(out, ".part.log")
    n = len(source.ids)
    header = {
        "card": card.digest,
        "fingerprint": source.fingerprint,
        "members": sha256_json(
            [source.ids, source.split, source.groups]
            + ([] if source.positions is None else [source.positions.tolist()])
        ),
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
    spans = layout.spans(part)
    with (
        bar(f"{card.name}: pixels", n, "pairs", quiet=quiet) as shown,
        open(part, "r+b") as handle,
    ):
        for start in range(0, n, source.rows_per_block):
            stop = min(start + source.rows_per_block, n)
            if start not in done or done[start] != blocks.on_disk(handle, spans, start, stop):
                block = source.read(start, stop)
                arrays = blocks.checked_arrays(block, card, source, start, stop)
                digest = blocks.write_block(handle, spans, arrays, start)
                append_jsonl(log, {"start": start, "sha256": digest})
            shown.advance(stop - start)
        os.fsync(handle.fileno())
    train = np.isin(source.split, card.train_splits)
    scans = scan_all(part, train, f"{card.name}: digests", quiet)
    layout.seal(part, scans, train)
    with open(part, "rb") as handle:
        os.fsync(handle.fileno())
    os.replace(part, out)
    log.unlink()
    shutil.rmtree(_beside(out, ".part.raw"), ignore_errors=True)
    for finding in oddities(open_cache(out), scans):
        _say(finding, quiet)
    return out


def _other_card(stored: DatasetCard, card: DatasetCard) -> str:
    """What sets the card of a cache apart: its name, or the keys in which it differs."""
    if stored.name != card.name:
        return f"another card ('{stored.name}')"
    there, here = stored.content, card.content
    keys = [key for key in here if key != "source" and here[key] != there[key]]
    old, new = there["source"], here["source"]
    keys += [f"source.{key}" for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
    return f"another card ('{stored.name}' too, with another {', '.join(keys)})"


def _beside(out: Path, ending: str) -> Path:
    """What a build keeps until it is done: the file (".part"), the log of its blocks (".part.log"),
    and the folder of what is needed of archives (".part.raw")."""
    return out.with_name(out.name + ending)


def _say(text: str, quiet: bool) -> None:
    if not quiet:
        print(text, file=sys.stderr)


@contextlib.contextmanager
def _locked(out: Path) -> Iterator[None]:
    """Hold the lock of this build: a second one would write into the same blocks."""
    log = _beside(out, ".part.log")
    log.touch()
    with held(log):
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                if not log.stat().st_size:  # nothing was begun: nothing is left behind
                    log.unlink()


def _resumable(part: Path, log: Path, header: dict[str, Any]) -> dict[int, str] | None:
    """Digests of the blocks that an earlier build finished; None where it has to start anew."""
    lines = read_jsonl(log)
    if not part.is_file() or not lines or part.stat().st_size != lines[0].pop("size", None):
        return None
    if lines[0] != header:
        return None
    try:
        layout.spans(part)
    except (OSError, KeyError, RuntimeError):
        return None
    return {int(line["start"]): str(line["sha256"]) for line in lines[1:]}


def _create(card: DatasetCard, source: Source, part: Path) -> None:
    """Lay the file out, after a look whether it will fit."""
    arrays = array_table(card, len(source.ids)).values()
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
        layout.create_file(card, source, part)
    except RuntimeError as error:  # h5py reports a failing close in this way
        raise UserError(f"cannot lay out the cache: {error}", where=part) from error
    if hasattr(os, "posix_fallocate"):  # take the space now, so that a full disk shows now
        with open(part, "r+b") as handle:
            os.posix_fallocate(handle.fileno(), 0, part.stat().st_size)


def _check_source(source: Source, card: DatasetCard) -> None:
    """Ids unique, a split for each, a group for each or none, and every split of the card there."""
    if not source.ids:
        raise UserError("the source has no pairs", where=source.description)
    if len(set(source.ids)) != len(source.ids):
        names, counts = np.unique(source.ids, return_counts=True)
        raise UserError(f"the id '{names[counts > 1][0]}' repeats", where=source.description)
    for what, texts in (("splits", source.split), ("groups", source.groups)):
        if texts is not None and len(texts) != len(source.ids):
            what = f"{len(texts)} {what} for {len(source.ids)} pairs"
            raise UserError(what, where=source.description)
    if source.positions is None and card.labels.kind == "place":
        raise UserError(
            "the source does not say where its pairs lie, which relevance by place needs",
            where=source.description,
            fix="give the table of scenes its corners, or take georeferenced images",
        )
    if source.positions is not None and not (
        source.positions.shape == (len(source.ids), 3) and np.isfinite(source.positions).all()
    ):
        raise UserError("positions are not three finite numbers a pair", where=source.description)
    wanted = {name for p in card.protocols.values() for name in [*p.query, *p.gallery]}
    if absent := sorted((wanted | set(card.train_splits)) - set(source.split)):
        raise UserError(
            f"no pair is in split '{absent[0]}', which the card '{card.name}' uses",
            where=source.description,
            fix="correct the splits of the card",
        )
