"""``crbench evaluate``: embeddings of a run or of anyone, in four directions → one record."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from crbench import machine, progress
from crbench.data.cache.reading import Cache
from crbench.errors import UserError, unknown
from crbench.evaluation.probe import check_probe, probe_run
from crbench.evaluation.scorable import ScorableRun, dataset_entry, open_scorable, protocol_entry
from crbench.files import check_writable
from crbench.records import Direction, ModalityEntry, Record, Serves, write_record
from crbench.run.devices import Ranks, device_name, peak_memory, pick_device, threads_here
from crbench.scoring import Items, health, score_directions
from crbench.scoring.index import INDEX_KINDS
from crbench.scoring.score import score_approximately
from crbench.seeds import derive
from crbench.words import MODALITIES

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
    ranks: Ranks | None = None,
    quiet: bool = False,
    weights: str = "last",
) -> Record:
    """Score a finished run, or a file of embeddings, and write the record.

    ``protocol`` is one of the dataset card's. A file (see docs/embeddings.md) needs ``dataset``, a
    card, and goes by ``name`` on boards; its record stands beside it unless ``out`` says otherwise.
    ``approximate`` searches the top k by an index of FAISS (ivf, hnsw) and leaves out mAP;
    ``probe`` adds a linear classifier as a supervised reference. Of several ``ranks`` the first
    embeds and writes, and all return the record. ``weights`` of a run are the last or the best.
    """
    scorer = Scorer(device, ranks or Ranks(), approximate, quiet)
    scorable = open_scorable(path, dataset=dataset, name=name, cache=cache, weights=weights)
    data = scorable.cache
    key = pick_protocol(data, protocol)
    chosen = data.card.protocols[key]
    usual = ("last", data.card.protocol, None)
    choices = zip((weights, key, approximate), usual, strict=True)
    suffix = "-".join(choice for choice, default in choices if choice and choice != default)
    target = Path(out) if out else scorable.record_path(suffix)
    if scorer.ranks.first:
        check_writable(target)
    if probe:
        check_probe(data, chosen)
        if not isinstance(scorable, ScorableRun):
            raise UserError("a linear probe needs a run, whose training pairs it can embed",
                            where=scorable.path, fix="leave out --probe")  # fmt: skip
    vectors = scorable.embed(scorer.device, scorer.ranks, quiet)
    query, gallery = (items(data, s, chosen.exclude) for s in (chosen.query, chosen.gallery))
    started = time.perf_counter()
    result = scorer.score(
        vectors.pairs(query.ids, gallery.ids),
        query,
        gallery,
        label_kind=data.card.labels.kind,
        classes=data.card.labels.classes,
        seed=derive("bootstrap", data.digest, key),
    )
    seconds = time.perf_counter() - started
    serves = {
        cast(Direction, d): Serves(query=view_of(names[0]), gallery=view_of(names[1]))
        for d, names in vectors.serves.items()
    }
    probed = None
    if probe and isinstance(scorable, ScorableRun) and scorer.ranks.first:
        probed = probe_run(scorable.run, chosen, serves, scorer.chosen, quiet=quiet)
    entries = scorable.entries(vectors)
    record = Record(
        created=machine.now_utc(),
        dataset=dataset_entry(data),
        modalities={
            m: ModalityEntry(name=data.card.modality(m).name, bands=data.card.modality(m).used)
            for m in MODALITIES
        },
        protocol=protocol_entry(key, query, gallery, data),
        serves=serves,
        **{part: result[part] for part in ("scores", "chance", "per_class", "counts", "health")},
        collapsed=bool(result["health"]["collapsed"]),
        resamples=RESAMPLES,
        approximate=result["approximate"],
        probe=probed,
        **entries
        | {
            "timings": entries["timings"] | {"score_s": seconds},
            "devices": entries["devices"] | {"score": result["device"]},
            "memory": entries["memory"] | peak_memory("evaluate", scorer.chosen),
        },
    )
    if scorer.ranks.first:
        write_record(target, record)
    return record


@dataclass(frozen=True)
class Scorer:
    """Where scoring runs: ``device`` (auto, cpu, cuda, cuda:N), which rank this process is, and
    the kind of an ``approximate`` index (ivf, hnsw, flat; None: exact)."""

    device: str = "auto"
    ranks: Ranks = field(default_factory=Ranks)
    approximate: str | None = None
    quiet: bool = False

    def __post_init__(self) -> None:
        if self.approximate is None:
            return
        if self.approximate not in INDEX_KINDS:
            raise unknown("index", self.approximate, INDEX_KINDS, where="--approximate")
        if self.ranks.size > 1:
            raise UserError(
                "an approximate search runs in one process",
                where="torchrun",
                fix="start it without torchrun; FAISS uses all cores or GPUs by itself",
            )

    @property
    def chosen(self) -> torch.device:
        """The device of this process; of several GPUs, each rank takes one."""
        device = pick_device(self.device)
        if device.type == "cuda" and device.index is None and self.ranks.size > 1:
            return torch.device("cuda", self.ranks.local % torch.cuda.device_count())
        return device

    def score(
        self,
        arrays: Mapping[str, tuple[np.ndarray, np.ndarray]],
        query: Items,
        gallery: Items,
        *,
        label_kind: str,
        classes: Sequence[str],
        seed: int,
    ) -> dict[str, Any]:
        """What ``scoring.score_directions`` returns, with ``health``, ``approximate`` and
        ``device``; the same on every rank."""
        options: dict[str, Any] = {
            "label_kind": label_kind,
            "classes": classes,
            "resamples": RESAMPLES,
            "seed": seed,
        }
        total, quiet = len(arrays) * len(query), self.quiet or not self.ranks.first
        with progress.bar("scoring", total, "queries", quiet=quiet) as bar:
            begun: dict[str, int] = {}

            def show(direction: str, done: int, total: int) -> None:
                bar.label, bar.total = f"scoring {direction}", len(arrays) * total  # of this rank
                bar.advance(done - begun.get(direction, 0))
                begun[direction] = done

            if self.approximate:
                result, facts = score_approximately(
                    arrays, query, gallery, self.approximate, progress=show, **options
                )
                result |= {"approximate": facts, "device": _faiss_device(facts)}
            else:
                result = score_directions(
                    arrays,
                    query,
                    gallery,
                    threads=threads_here(),
                    progress=show,
                    engine=self.ranks.engine(self._ranker()),
                    **options,
                )
                ranks = f", {self.ranks.size} ranks" if self.ranks.size > 1 else ""
                result |= {"approximate": None, "device": device_name(self.chosen) + ranks}
        result["health"] = health(arrays, result["tied_share"])
        return result

    def _ranker(self) -> Any:
        """The ranker of a GPU; None on a processor."""
        if self.chosen.type == "cpu":
            return None
        from crbench.evaluation.device_ranking import ranker_on

        return ranker_on(self.chosen)


def pick_protocol(data: Cache, protocol: str | None) -> str:
    """The name of a protocol of the card, its default for None; an unknown one is a UserError."""
    name = protocol or data.card.protocol
    if name not in data.card.protocols:
        raise unknown("protocol", name, data.card.protocols, where=data.card.name)
    return name


def view_of(name: str) -> str:
    """What a record calls an array: ``uni`` for ``a/uni``, others by their name in the file."""
    modality, slash, view = name.partition("/")
    return view if slash and modality in ("a", "b") else name


def items(data: Cache, splits: list[str], exclude: str = "self") -> Items:
    """Ids and labels of the pairs of some splits; their places too, where the protocol asks."""
    rows = data.rows(splits)
    if not len(rows):
        raise UserError(f"no pairs in split {splits}", where=data.path, fix="build the cache anew")
    labels = None if data.labels is None else data.labels[rows]
    if exclude == "self":
        return Items(ids=data.ids[rows], labels=labels)
    if data.places is None:
        raise UserError(
            "this cache does not say from which place its pairs are",
            where=data.path,
            fix="take a protocol that leaves out the query alone, or, where the source knows the "
            f"places, build it again: crbench cache build {data.card.name} --force",
        )
    return Items(ids=data.ids[rows], labels=labels, groups=data.places[rows])


def _faiss_device(facts: Mapping[str, Any]) -> str:
    gpus = max(parameters.get("gpus", 0) for parameters in facts["parameters"].values())
    return f"FAISS, {gpus} GPU" if gpus else "FAISS, cpu"
