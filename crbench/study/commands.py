"""The commands that make a record again, from the record alone.

Every field that changes a score leads to an option, or there are no commands and the reason names
the field. Nothing of a record is trusted: its names must be of cards that ship, and its classes
registered (``crbench.methods``), so that a stranger's file runs nothing of its own.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from operator import attrgetter
from pathlib import PurePosixPath
from typing import Any

from crbench.board.rows import flatten
from crbench.cards import (
    DatasetCard,
    MethodCard,
    load_dataset,
    load_method,
    names,
    parse,
    read_table,
)
from crbench.data.sources.landsat7 import as_scenes
from crbench.errors import UserError
from crbench.records import DatasetEntry, Record, TrainingEntry
from crbench.study.cards import option_words

_REMADE = PurePosixPath("runs/again")
_BEST = re.compile(r"best (?P<metric>\S+) on val, epoch (?P<epoch>[1-9]\d*)")
# no option leads to another value: that is a record of another version of crbench
_FIXED: Mapping[str, object] = {
    "resamples": 1000,
    "protocol.similarity": "cosine, float32",
    "protocol.ties": "expected over random order",
    "protocol.exclude_self": True,
}


def command_lines(record: Record) -> list[str] | None:
    """The lines of ``record_steps`` as a shell takes them; None where there are none."""
    try:
        return [shlex.join(words) for words in record_steps(record)]
    except UserError:
        return None


def record_steps(record: Record, *, source: str = "DIR", out: str | None = None) -> list[list[str]]:
    """Words of the commands: build the cache, train, evaluate (and embed before it, where that was
    on another device). ``source`` holds the images of sets that are not synthetic, ``out`` is the
    run folder.

    UserError names the field of the record that no option leads to.
    """
    training = record.training
    if training is None or record.method.kind == "external":
        raise _no_way(
            record, "method.kind", "these vectors are of a program that crbench did not run"
        )
    if not training.finished:
        raise _no_way(record, "training.finished", "its training had not ended")
    for field, value in _FIXED.items():
        if (held := attrgetter(field)(record)) != value:
            raise _no_way(record, field, f"{held!r}, where this version has {value!r}")
    method, sets = _method(record)
    trained_on = record.trained_on or record.dataset
    data, data_sets = _dataset(record, trained_on)
    run = out or str(_REMADE / data.name / f"{record.run}-{record.method.digest[:8]}")
    place = _cache_place(data, data_sets)
    device = _device(training.device)
    embedded, ranked = (
        _device(record.devices.get(stage, training.device)) for stage in ("embed", "score")
    )
    best = _best_weights(record, training)
    _check_precision(record, training, method, device)
    caches: dict[tuple[str, ...], Mapping[str, object]] = {}
    caches["cache", "build", data.name] = _build_options(data, data_sets, source)
    scored_on: dict[str, object] = {}
    if record.trained_on is not None:
        other, other_sets = _dataset(record, record.dataset)
        caches["cache", "build", other.name] = _build_options(other, other_sets, source)
        scored_on = {"--on": other.name, "--cache": _cache_place(other, other_sets)}
    train = {
        "--scale": None if method.scale == "paper" else method.scale,
        "--seed": training.seed,
        "--set": sets,
        "--bands": _bands(record, data),
        "--device": device,
        "--threads": training.threads if device == "cpu" else None,
        "--eval-every": best.get("epoch"),
        "--keep-best": best.get("metric"),
        "--cache": place,
        "--out": run,
    }
    scored = {"--weights": "best" if best else None, "--device": embedded}
    evaluate = {
        **scored_on,
        "--protocol": _protocol(record, other if record.trained_on is not None else data),
        **scored,
        "--device": ranked,
        "--approximate": record.approximate.kind if record.approximate else None,
        "--probe": record.probe is not None,
    }
    commands: dict[tuple[str, ...], Mapping[str, object]] = {
        **caches,
        ("train", method.name, data.name): train,
        **({("embed", run): scored} if embedded != ranked and not scored_on else {}),
        ("evaluate", run): evaluate,
    }
    return [["crbench", *words, *option_words(options)] for words, options in commands.items()]


def _no_way(record: Record, field: str, why: str) -> UserError:
    return UserError(
        f"no command of this installation leads to this record: {field}: {why}",
        where=record.run,
        fix="its own cards stand in the record: save one as a .toml file, and train that",
    )


def _device(name: str) -> str:
    """The ``--device`` for a device's name in a record: ``cpu``, ``FAISS, cpu``, a GPU's name."""
    name = name.removeprefix("FAISS, ")
    return name if name in ("cpu", "mps") else "cuda"


def _best_weights(record: Record, training: TrainingEntry) -> dict[str, str]:
    """``epoch`` and ``metric`` of the checkpoint that was scored, where it is not the last.

    How often the run was scored on the validation split is not recorded. The epoch that was kept
    was scored, so it is a multiple of that period, or the last. ``--eval-every EPOCH`` scores its
    multiples and the last, which were all scored then: the epoch is the best of fewer, and stays.
    """
    if training.checkpoint == "last":
        return {}
    if (best := _BEST.fullmatch(training.checkpoint)) is None:
        raise _no_way(record, "training.checkpoint", f"'{training.checkpoint}' are no weights")
    return best.groupdict()


def _check_precision(
    record: Record, training: TrainingEntry, card: MethodCard, device: str
) -> None:
    precision: str = card.train.precision
    if precision == "auto":
        precision = "bf16" if device == "cuda" else "fp32"
    if training.precision not in (precision, "fp32" if training.steps == 0 else precision):
        why = f"{training.precision}, where card and device lead to {precision}"
        raise _no_way(record, "training.precision", why)


def _protocol(record: Record, card: DatasetCard) -> str:
    entry = record.protocol
    protocol = card.protocols.get(entry.name)
    sets = attrgetter("query", "gallery", "exclude")
    if protocol is None or sets(entry) != sets(protocol):
        why = f"the card of {card.name} has no protocol '{entry.name}' with these queries"
        raise _no_way(record, "protocol", why)
    return entry.name


def _bands(record: Record, card: DatasetCard) -> list[str]:
    choices = [
        f"{which}={','.join(entry.bands)}"
        for which, entry in sorted(record.modalities.items())
        if entry.bands != card.modality(which).used
    ]
    try:
        chosen = card.with_bands(choices)
    except UserError as error:
        raise _no_way(record, "modalities", error.what) from None
    for which, entry in record.modalities.items():
        if chosen.modality(which).used != entry.bands:
            raise _no_way(record, f"modalities.{which}.bands", ", ".join(entry.bands))
    return choices


def _method(record: Record) -> tuple[MethodCard, list[str]]:
    """The record's method card, and the ``key=value`` in which it differs from the shipped one."""
    try:
        card = parse(MethodCard, record.method.card, where=record.run)
        # a name ending in .toml would be a file that lies here
        if card.name not in names("methods"):
            raise UserError(f"no method '{card.name}' ships")
        shipped = load_method(card.name, scale=card.scale)
        if card.cls != shipped.cls:
            from crbench.models.registry import is_registered  # with torch, which few records need

            if not is_registered(card.cls):
                raise UserError(f"class '{card.cls}' is not registered")
        before = read_table("methods", card.name).get("later", {})  # of keys that neither may have
        sets = _differing(*(before | flatten(each.to_dict()) for each in (card, shipped)))
        if load_method(card.name, scale=card.scale, overrides=sets).digest != card.digest:
            raise UserError("the card has keys that --set cannot give")
    except UserError as error:
        raise _no_way(record, "method.card", error.what) from None
    return card, sets


def _cache_place(data: DatasetCard, sets: list[str]) -> str | None:
    """Where a cache goes; None: the usual place, which training looks at."""
    if sets or data.scale != "default":
        return str(_REMADE / data.name / f"cache-{data.digest[:8]}.h5")
    return None


def _build_options(data: DatasetCard, sets: list[str], source: str) -> Mapping[str, object]:
    return {
        "--scale": None if data.scale == "default" else data.scale,
        "--set": sets,
        "--source": None if data.synthetic else source,
        "--out": _cache_place(data, sets),
    }


def _dataset(record: Record, entry: DatasetEntry) -> tuple[DatasetCard, list[str]]:
    """The shipped dataset card as the record's, and the ``source.*`` keys that build its cache.

    Training takes how images are normalised and split from the shipped card, so only the source
    can be another.
    """
    training = record.training if entry == (record.trained_on or record.dataset) else None
    try:
        card = as_scenes(parse(DatasetCard, entry.card, where=record.run))
        if card.name not in names("datasets"):
            raise UserError(f"no dataset '{card.name}' ships")
        shipped = load_dataset(card.name, scale=card.scale)
        sets = _differing({"source": card.source}, {"source": shipped.source})
        if card.source.get("kind") != shipped.source.get("kind"):  # it may name code
            raise UserError("the images come from another kind of source")
        reached = load_dataset(card.name, scale=card.scale, overrides=sets)
    except UserError as error:
        raise _no_way(record, "dataset.card", error.what) from None
    mine, theirs = (flatten({**c.content, "normalise": c.normalise}) for c in (card, reached))
    for key in dict.fromkeys((*mine, *theirs)):
        if mine.get(key) != theirs.get(key):
            raise _no_way(
                record, f"dataset.card.{key}", f"{mine.get(key)!r} is not the shipped card's"
            )
    if training is not None and training.train_splits != reached.train_splits:
        raise _no_way(record, "training.train_splits", ", ".join(training.train_splits))
    return reached, sets


def _differing(card: dict[str, Any], shipped: dict[str, Any]) -> list[str]:
    """``key=value`` of what differs; for text, numbers, booleans and flat lists JSON is TOML."""
    mine, theirs = flatten(card), flatten(shipped)
    return [
        f"{key}={json.dumps(value, ensure_ascii=False)}"
        for key, value in mine.items()
        if theirs.get(key) != value
    ]
