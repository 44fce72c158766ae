"""The commands that make a record again, from the record alone."""

from __future__ import annotations

import json
import shlex
from typing import Any

from crbench.board.rows import flatten
from crbench.cards import MethodCard, load_dataset, load_method, parse
from crbench.errors import UserError
from crbench.records import Record

RUNS = "runs/again"


def commands(record: Record) -> list[str] | None:
    """The lines of ``steps`` as a shell takes them."""
    found = steps(record)
    return None if found is None else [shlex.join(words) for words in found]


def steps(record: Record, *, source: str = "DIR", out: str | None = None) -> list[list[str]] | None:
    """Words of three commands: build the cache, train, evaluate. ``source`` holds the images of
    sets that are not synthetic, ``out`` is the run folder.

    None where the cards of today cannot give the record's method, as for embeddings of other
    programs and cards that did not ship.
    """
    sets = overrides(record)
    training = record.training
    if sets is None or training is None:
        return None
    data, method = record.dataset, record.method
    cache = ["crbench", "cache", "build", data.name]
    if data.scale != "default":
        cache += ["--scale", data.scale]
    if not data.synthetic:
        cache += ["--source", source]
    run = out or f"{RUNS}/{data.name}/{record.run}-{method.digest[:8]}"
    train = ["crbench", "train", method.name, data.name]
    if method.scale != "paper":
        train += ["--scale", method.scale]
    train += ["--seed", str(training.seed)]
    train += [word for item in sets for word in ("--set", item)]
    for which, entry in sorted(record.modalities.items()):
        if entry.bands != data.card[which]["bands"]:
            train += ["--bands", f"{which}={','.join(entry.bands)}"]
    if training.device == "cpu":
        train += ["--device", "cpu", "--threads", str(training.threads)]
    train += ["--out", run]
    evaluate = ["crbench", "evaluate", run, "--protocol", record.protocol.name]
    if record.approximate is not None and record.approximate.kind != "flat":
        evaluate += ["--approximate", record.approximate.kind]
    if record.probe is not None:
        evaluate += ["--probe"]
    return [cache, train, evaluate]


def required_steps(
    record: Record, *, source: str = "DIR", out: str | None = None
) -> list[list[str]]:
    """As ``steps``, where having none is a UserError."""
    found = steps(record, source=source, out=out)
    if found is None:
        raise UserError(
            "no card of this installation leads to this record",
            where=record.run,
            fix="its own cards stand in the record: save one as a .toml file, and train that",
        )
    return found


def overrides(record: Record) -> list[str] | None:
    """``key=value`` for each key in which the record's method card differs from the shipped one;
    None where no such overrides lead to it."""
    try:
        card = parse(MethodCard, record.method.card, where=record.run)
        scale = None if card.scale == "paper" else card.scale
        shipped = load_method(card.name, scale=scale)
        mine, theirs = flatten(card.to_dict()), flatten(shipped.to_dict())
        sets = [f"{key}={_toml(mine[key])}" for key in mine if theirs.get(key) != mine[key]]
        reached = load_method(card.name, scale=scale, overrides=sets)
        load_dataset(record.dataset.name)
    except UserError:
        return None
    return sets if reached.digest == card.digest else None


def _toml(value: Any) -> str:
    """A card's value as TOML: for text, numbers, booleans and flat lists its JSON is the same."""
    return json.dumps(value, ensure_ascii=False)
