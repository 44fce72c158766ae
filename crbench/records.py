"""The record: one JSON per run, checked on writing and on reading. Boards say what records say.

Records load for ever: a new key has a default, and a new version has to read the older ones.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from crbench.cards import Strict, parse
from crbench.errors import UserError
from crbench.files import read_json, write_json

VERSION = 1
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]*")
Direction = Literal["aa", "bb", "ab", "ba"]


class Value(Strict):
    """A metric as a fraction with its 95 % interval over queries, or over places (see
    ``ProtocolEntry.resample``); None where undefined."""

    value: float | None
    low: float | None
    high: float | None


class MethodEntry(Strict):
    """What was run: the resolved card and its digest.

    ``external``: vectors of a program that crbench did not run. ``card`` then holds what their
    file says about itself and ``digest`` is the file's.
    """

    name: str
    title: str
    kind: Literal["method", "floor", "external"]
    paper: str
    scale: str
    digest: str
    card: dict[str, Any]


class DatasetEntry(Strict):
    """What it was run on. ``cache_digest`` covers every pixel, id, label and split."""

    name: str
    title: str
    synthetic: bool
    note: str
    scale: str
    card_digest: str
    cache_digest: str
    card: dict[str, Any]
    sizes: dict[str, int]  # pairs per split


class ModalityEntry(Strict):
    """A sensor: its name and bands in the order that the model saw."""

    name: str
    bands: list[str]


class ProtocolEntry(Strict):
    """Which items are queries and which the gallery, and how they were compared."""

    name: str
    query: list[str]
    gallery: list[str]
    n_query: int
    n_gallery: int
    exclude_self: bool
    exclude: Literal["self", "pair", "place"] = "self"
    groups: str | None = None  # SHA-256 of the places and dates, where they leave items out
    resample: Literal["query", "place"] = "query"  # what intervals draw: counts say how many blocks
    similarity: str
    ties: str


class Serves(Strict):
    """The view (head, branch) of the model that served one direction."""

    query: str
    gallery: str


class TrainingEntry(Strict):
    """How the weights came to be."""

    seed: int
    epochs: int
    epochs_planned: int
    steps: int
    train_splits: list[str]
    n_train: int
    seconds: float
    checkpoint: str
    device: str
    threads: int
    precision: str
    params_trainable: int
    params_total: int
    params_inference: int
    final_terms: dict[str, float]
    finished: bool
    # step → loss term → its share of the gradient's norms before that step, in [0, 1]
    gradient_shares: dict[str, dict[str, float]] = Field(default_factory=dict)


class ApproximateEntry(Strict):
    """How the top k were searched where not exactly: index, its parameters and how good it was.

    ``recall[direction][k]``: share of the top k whose exact score is that of the exact top k or
    better, mean over ``sample`` queries.
    """

    kind: Literal["flat", "ivf", "hnsw"]
    parameters: dict[Direction, dict[str, int]]
    recall: dict[Direction, dict[str, float]]
    sample: int


class ProbeEntry(Strict):
    """A linear classifier trained on one view of the training split, with its labels.

    A supervised reference, no retrieval: fractions over the protocol's queries; macro means are
    over the classes that occur there.
    """

    view: str
    classifier: str
    n_train: int
    n_query: int
    n_classes: int
    accuracy: float | None  # single-label
    macro_f1: float
    macro_map: float | None  # multi-label: mean over the classes of average precision


class Record(Strict):
    """Everything that is known about one run of one method on one dataset."""

    version: Literal[1] = 1
    run: str
    created: str
    method: MethodEntry
    dataset: DatasetEntry
    modalities: dict[Literal["a", "b"], ModalityEntry]
    protocol: ProtocolEntry
    serves: dict[Direction, Serves]
    scores: dict[Direction, dict[str, Value]]
    chance: dict[Direction, dict[str, float | None]]
    trained_on: DatasetEntry | None = None  # None: on the dataset that was scored
    # of synthetic sets whose factors are known: see evaluation/ceiling.py
    ceiling: dict[Direction, dict[str, float | None]] | None = None
    per_class: dict[Direction, dict[str, dict[str, float | None]]]
    counts: dict[Direction, dict[str, Any]]
    health: dict[str, Any]
    collapsed: bool
    training: TrainingEntry | None = None  # None: not stated, see MethodEntry
    digests: dict[str, str]
    timings: dict[str, float]
    versions: dict[str, str]
    hardware: dict[str, str | int]
    command: str
    resamples: int = Field(ge=1000)
    approximate: ApproximateEntry | None = None  # None: exact
    probe: dict[Literal["a", "b"], ProbeEntry] | None = None  # None: not asked for
    devices: dict[str, str] = Field(default_factory=dict)  # what embedded, what scored
    memory: dict[str, float] = Field(default_factory=dict)  # peaks of the processes, in GiB

    @property
    def params_trainable(self) -> int | None:
        """Parameters that were trained; None where that is not stated."""
        return self.training.params_trainable if self.training else None


def write_record(path: str | Path, record: Record) -> None:
    """Write a record atomically, checked once more as it will be read."""
    data = record.model_dump(mode="json", by_alias=True)
    _checked(data, path)
    write_json(path, data)


def read_record(path: str | Path) -> Record:
    """Read a record of this or an older version; anything else is a UserError."""
    if not Path(path).is_file():
        raise UserError(
            "no such record", where=path, fix="check the path; `crbench evaluate` writes one"
        )
    data = read_json(path)
    version = data.get("version") if isinstance(data, dict) else None
    if version != VERSION:
        raise UserError(
            f"not a crbench record of version {VERSION} (version: {version})",
            where=path,
            fix="upgrade crbench" if isinstance(version, int) and version > VERSION else None,
        )
    return _checked(data, path)


def _checked(data: dict[str, Any], path: str | Path) -> Record:
    """The record that ``data`` is. Names that would lead elsewhere as a path or be taken for an
    option of a command are refused.

    The names of foreign embeddings may be anything printable: no path or command is made of them.
    """
    record = parse(Record, data, where=str(path))
    method, dataset = record.method, record.dataset
    names = {"dataset.name": dataset.name, "protocol.name": record.protocol.name}
    cards = {"dataset.name": dataset.card}
    if method.kind != "external":
        names |= {"run": record.run, "method.name": method.name, "method.digest": method.digest}
        names |= {"method.scale": method.scale}
        cards |= {"method.name": method.card}
    problems = [
        f"{field}: {name!r} is no plain name (letters, digits and . _ @ - after the first)"
        for field, name in names.items()
        if not _PLAIN.fullmatch(name)
    ] + [
        f"{field}: '{names[field]}' is not the name in its card, {card.get('name')!r}"
        for field, card in cards.items()
        if card.get("name") != names[field]
    ]
    if problems:
        fix = "take the record from who made it; crbench wrote no such name"
        raise UserError(problems[0], where=path, fix=fix)
    return record
