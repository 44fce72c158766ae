"""``crbench evaluate``: embeddings of a run or of anyone, in four directions → one record."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch

from crbench import machine, progress
from crbench.cards import ProtocolCard
from crbench.data.cache.reading import Cache
from crbench.errors import UserError, unknown
from crbench.evaluation.recorded import EvaluatedRun
from crbench.evaluation.scorable import (
    ScorableRun,
    dataset_entry,
    open_scorable,
    protocol_entry,
    query_seconds,
)
from crbench.files import check_writable
from crbench.records import Direction, ModalityEntry, Record, Serves, write_record
from crbench.run.devices import Ranks, device_name, peak_memory, pick_device, threads_here
from crbench.scoring import Engine, Items, health, score_directions
from crbench.scoring.index import INDEX_KINDS
from crbench.scoring.metrics import Progress
from crbench.seeds import derive
from crbench.words import KS, MODALITIES

RESAMPLES = 1000


def evaluate(
    path: str | Path,
    *,
    dataset: str | None = None,
    name: str | None = None,
    protocol: str | None = None,
    cache: str | Path | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    approximate: str | None = None,
    probe: bool = False,
    time_query: bool = False,
    ranks: Ranks | None = None,
    quiet: bool = False,
    weights: str = "last",
    on: str | None = None,
    then: Callable[[EvaluatedRun], object] | None = None,
) -> Record:
    """Score a finished run, or a file of embeddings, and write the record.

    ``protocol`` is one of the dataset card's. A file (see docs/embeddings.md) needs ``dataset``, a
    card, and goes by ``name`` on boards; its record stands beside it unless ``out`` says otherwise.
    ``approximate`` searches the top k by an index of FAISS (ivf, hnsw) and leaves out mAP;
    ``probe`` adds a linear classifier as a supervised reference, ``time_query`` how long one query
    takes. Of several ``ranks`` the first
    embeds and writes, and all return the record. ``weights`` of a run are the last or the best.
    ``on`` scores a run on another card's set, as it was normalised in training.
    ``then`` is called with the run as it was opened, its record and its embeddings.
    """
    ranks = ranks or Ranks()
    scoring_on = _scoring_device(device, ranks)
    _check_index(approximate, ranks)
    if probe and on is not None:
        raise UserError("a linear probe is trained on the run's own set", where="--probe",
                        fix="leave out --probe or --on")  # fmt: skip
    scorable = open_scorable(path, dataset=dataset, name=name, cache=cache, weights=weights, on=on)
    data = scorable.cache
    key = pick_protocol(data, protocol)
    chosen = data.card.protocols[key]
    usual = ("last", data.card.protocol, None)
    choices = zip((weights, key, approximate), usual, strict=True)
    name_parts = [choice for choice, default in choices if choice and choice != default]
    target = Path(out or "-".join([str(scorable.record_path), *name_parts]) + ".json")
    if ranks.first:
        check_writable(target)
    if probe:
        from crbench.evaluation.probe import check_probe, probe_run  # scikit-learn takes seconds

        check_probe(data, chosen)
        if not isinstance(scorable, ScorableRun):
            raise UserError("a linear probe needs a run, whose training pairs it can embed",
                            where=scorable.path, fix="leave out --probe")  # fmt: skip
    vectors = scorable.embed(device, ranks, quiet)
    query, gallery = query_and_gallery(data, chosen)
    arrays = vectors.pairs(query.ids, gallery.ids)
    ranker = None
    if scoring_on.type != "cpu":
        from crbench.evaluation.device_ranking import ranker_on

        ranker = ranker_on(scoring_on)
    started = time.perf_counter()
    with _progress(len(query), list(arrays), quiet or not ranks.first) as show:
        result = score_directions(
            arrays,
            query,
            gallery,
            label_kind=data.card.labels.kind,
            classes=data.card.labels.classes,
            resamples=RESAMPLES,
            seed=derive("bootstrap", data.digest, key),
            approximate=approximate,
            threads=threads_here(),
            progress=show,
            engine=Engine(ranks.rank, ranks.size, ranks.total, ranker),
        )
    ceiling = None
    if data.card.has_ceiling:
        from crbench.evaluation.ceiling import ceilings

        ceiling = ceilings(data, query, gallery, list(arrays), KS)
    condition = health(arrays, result["tied_share"])
    seconds = time.perf_counter() - started
    serves = {
        cast(Direction, d): Serves(query=_view_of(names[0]), gallery=_view_of(names[1]))
        for d, names in vectors.serves.items()
    }
    probed = None
    if probe and isinstance(scorable, ScorableRun) and ranks.first:
        probed = probe_run(scorable, chosen, serves, scoring_on, quiet=quiet)
    entries = scorable.entries(vectors)
    timings = entries["timings"] | {"score_s": seconds}
    if time_query and ranks.first:
        timings |= query_seconds(scorable, chosen, arrays, device)
    record = Record(
        created=machine.now_utc(),
        dataset=dataset_entry(data),
        modalities={
            m: ModalityEntry(name=data.card.modality(m).name, bands=data.card.modality(m).used)
            for m in MODALITIES
        },
        protocol=protocol_entry(key, query, gallery, data),
        serves=serves,
        **{part: result[part] for part in ("scores", "chance", "per_class", "counts")},
        ceiling=ceiling,
        health=condition,
        collapsed=bool(condition["collapsed"]),
        resamples=RESAMPLES,
        approximate=result["approximate"],
        probe=probed,
        **entries
        | {
            "timings": timings,
            "devices": entries["devices"] | {"score": _scored_by(result, scoring_on, ranks)},
            "memory": entries["memory"] | peak_memory("evaluate", scoring_on),
        },
    )
    if ranks.first:
        write_record(target, record)
        if then is not None and isinstance(scorable, ScorableRun):
            then(EvaluatedRun(**vars(scorable), record=record, embeddings=vectors))
    return record


def _scoring_device(device: str, ranks: Ranks) -> torch.device:
    """The device of this process: of several GPUs each rank takes one, fewer GPUs they share."""
    chosen = pick_device(device)
    if chosen.type == "cuda" and chosen.index is None and ranks.size > 1:
        return torch.device("cuda", ranks.local % torch.cuda.device_count())
    return chosen


def _check_index(kind: str | None, ranks: Ranks) -> None:
    """Refuse an index that there is not, or that several processes were to search."""
    if kind is not None and kind not in INDEX_KINDS:
        raise unknown("index", kind, INDEX_KINDS, where="--approximate")
    if kind is not None and ranks.size > 1:
        raise UserError(
            "an approximate search runs in one process",
            where="torchrun",
            fix="start it without torchrun; FAISS uses all cores or GPUs by itself",
        )


@contextlib.contextmanager
def _progress(n_query: int, directions: list[str], quiet: bool) -> Iterator[Progress]:
    """A bar over all directions, moved by what it yields; see ``score_directions``."""
    with progress.bar("scoring", len(directions) * n_query, "queries", quiet=quiet) as bar:
        begun = dict.fromkeys(directions, 0)

        def show(direction: str, done: int, total: int) -> None:
            bar.label, bar.total = f"scoring {direction}", len(directions) * total  # of this rank
            bar.advance(done - begun[direction])
            begun[direction] = done

        yield show


def _scored_by(result: Mapping[str, Any], device: torch.device, ranks: Ranks) -> str:
    """What a record says of where its scores were computed."""
    if facts := result["approximate"]:
        gpus = max(parameters.get("gpus", 0) for parameters in facts["parameters"].values())
        return f"FAISS, {gpus} GPU" if gpus else "FAISS, cpu"
    return device_name(device) + (f", {ranks.size} ranks" if ranks.size > 1 else "")


def pick_protocol(data: Cache, protocol: str | None) -> str:
    """The name of a protocol of the card, its default for None; an unknown one is a UserError."""
    name = protocol or data.card.protocol
    if name not in data.card.protocols:
        raise unknown("protocol", name, data.card.protocols, where=data.card.name)
    return name


def _view_of(name: str) -> str:
    """What a record calls an array: ``uni`` for ``a/uni``, others by their name in the file."""
    modality, slash, view = name.partition("/")
    return view if slash and modality in ("a", "b") else name


def query_and_gallery(data: Cache, protocol: ProtocolCard) -> tuple[Items, Items]:
    """What a protocol ranks: ids, labels or positions, whether the own pair stays; places where it
    leaves them out or draws them anew. UserError where the cache does not know them."""
    if data.places is None and "place" in (protocol.exclude, protocol.resample):
        raise UserError(
            "this cache does not say from which place its pairs are",
            where=data.path,
            fix="take a protocol that needs no places, or, where the source knows the places, "
            f"build it again: crbench cache build {data.card.name} --force",
        )
    if data.card.labels.kind == "none" and protocol.exclude == "pair":
        raise UserError(
            "without labels the own pair is all that is right, and this protocol leaves it out",
            where=f"dataset card '{data.card.name}', exclude = \"pair\"",
            fix="take another --protocol",
        )
    sets = []
    for splits in (protocol.query, protocol.gallery):
        rows = data.rows(splits)
        if not len(rows):
            what = f"no pairs in split {splits}"
            raise UserError(what, where=data.path, fix="build the cache anew")
        items = data.items(rows)
        if protocol.exclude == "place" and data.places is not None:
            items = replace(items, groups=data.places[rows])
        sets.append(items)
    query, gallery = sets
    query = replace(query, leave_pair=protocol.exclude == "pair")
    if protocol.resample == "place" and data.places is not None:
        query = replace(query, blocks=data.places[data.rows(protocol.query)])
    return query, gallery
