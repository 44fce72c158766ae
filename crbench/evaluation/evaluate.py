"""``crbench evaluate``: embeddings of a run or of anyone, in four directions → one record."""

from __future__ import annotations

import time
from pathlib import Path
from typing import cast

import numpy as np

from crbench import machine as provenance
from crbench.cards import ProtocolCard
from crbench.data.cache.reading import Cache
from crbench.errors import UserError, unknown
from crbench.evaluation.probe import check_probe, probe_run
from crbench.evaluation.scorable import RunSide, open_side
from crbench.evaluation.score_views import RESAMPLES, How, score_views
from crbench.files import check_writable
from crbench.records import (
    DatasetEntry,
    Direction,
    ModalityEntry,
    ProtocolEntry,
    Record,
    Serves,
    write_record,
)
from crbench.run.memory import peak_memory
from crbench.run.ranks import Ranks
from crbench.scoring import Items
from crbench.seeds import derive


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
    how = How(device, ranks or Ranks(), approximate, quiet)
    side = open_side(path, dataset=dataset, name=name, cache=cache, weights=weights)
    data = side.data
    key = pick_protocol(data, protocol)
    chosen = data.card.protocols[key]
    kept = "" if weights == "last" else weights
    parts = [kept, key if key != data.card.protocol else "", approximate or ""]
    target = Path(out) if out else side.record_path("-".join(filter(None, parts)))
    if how.ranks.first:
        check_writable(target)
    if probe:
        check_probe(data, chosen)
        if not isinstance(side, RunSide):
            raise UserError("a linear probe needs a run, whose training pairs it can embed",
                            where=side.path, fix="leave out --probe")  # fmt: skip
    vectors = side.embed(how)
    query, gallery = (items(data, s, chosen.exclude) for s in (chosen.query, chosen.gallery))
    started = time.perf_counter()
    result = score_views(
        vectors.pairs(query.ids, gallery.ids),
        query,
        gallery,
        label_kind=data.card.labels.kind,
        classes=data.card.labels.classes,
        seed=derive("bootstrap", data.digest, key),
        how=how,
    )
    seconds = time.perf_counter() - started
    serves = {
        cast(Direction, d): Serves(query=view_of(names[0]), gallery=view_of(names[1]))
        for d, names in vectors.serves.items()
    }
    probed = None
    if probe and isinstance(side, RunSide) and how.ranks.first:
        probed = probe_run(side.run, data, chosen, serves, how)
    entries = side.entries(vectors)
    record = Record(
        created=provenance.now_utc(),
        dataset=dataset_entry(data),
        modalities={
            m: ModalityEntry(name=data.card.modality(m).name, bands=data.card.modality(m).used)
            for m in ("a", "b")
        },
        protocol=protocol_entry(key, chosen, query, gallery, data),
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
            "memory": entries["memory"] | peak_memory("evaluate", how.chosen()),
        },
    )
    if how.ranks.first:
        write_record(target, record)
    return record


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


def dataset_entry(data: Cache) -> DatasetEntry:
    card = data.card
    names, sizes = np.unique(data.split, return_counts=True)
    return DatasetEntry(
        name=card.name,
        title=card.title,
        synthetic=card.synthetic,
        note=card.note,
        scale=card.scale,
        card_digest=card.digest,
        cache_digest=data.digest,
        card=card.to_dict(),
        sizes={str(name): int(size) for name, size in zip(names, sizes, strict=True)},
    )


def protocol_entry(
    name: str, card: ProtocolCard, query: Items, gallery: Items, data: Cache
) -> ProtocolEntry:
    return ProtocolEntry(
        name=name,
        query=card.query,
        gallery=card.gallery,
        n_query=len(query.ids),
        n_gallery=len(gallery.ids),
        exclude_self=True,
        exclude=card.exclude,
        groups=data.array_digests["groups"] if card.exclude == "place" else None,
        similarity="cosine, float32",
        ties="expected over random order",
    )
