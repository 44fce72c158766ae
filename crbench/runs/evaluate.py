"""``crbench evaluate``: a run's embeddings in four directions → one record."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, cast

import h5py
import numpy as np

from crbench import provenance
from crbench.cards import ProtocolCard
from crbench.data.cache import Cache, decode
from crbench.errors import UserError, unknown
from crbench.files import sha256_file
from crbench.models.base import Method, Modality, count
from crbench.models.registry import build
from crbench.records import (
    DatasetEntry,
    Direction,
    MethodEntry,
    ModalityEntry,
    ProtocolEntry,
    Record,
    Serves,
    TrainingEntry,
    write_record,
)
from crbench.runs.embed import embed_run, open_run_cache
from crbench.runs.folder import RunFolder, RunInfo
from crbench.runs.memory import peak_memory
from crbench.runs.probe import check_probe, probe_run
from crbench.runs.ranks import Ranks
from crbench.runs.scored import RESAMPLES, How, score_views
from crbench.runs.train import band_counts
from crbench.scoring import Items
from crbench.seeds import derive


def evaluate(
    run_path: str | Path,
    *,
    protocol: str | None = None,
    cache: str | Path | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    approximate: str | None = None,
    probe: bool = False,
    ranks: Ranks | None = None,
    quiet: bool = False,
) -> Record:
    """Score a finished run under a protocol of its dataset card and write its record.

    ``approximate`` searches the top k by an index of FAISS (ivf, hnsw) and leaves out mAP;
    ``probe`` adds a linear classifier as a supervised reference. Of several ``ranks`` the first
    embeds and writes, and all return the record.
    """
    how = How(device, ranks or Ranks(), approximate, quiet)
    run = RunFolder(Path(run_path))
    info = run.finished()
    data = open_run_cache(info, cache)
    name = protocol or data.card.protocol
    if name not in data.card.protocols:
        raise unknown("protocol", name, data.card.protocols, where=data.card.name)
    chosen = data.card.protocols[name]
    if probe:
        check_probe(data, chosen)
    path = run.embeddings
    if how.ranks.first:
        path = embed_run(run.path, cache=data.path, device=device, quiet=quiet)
    how.ranks.wait("waiting for the embeddings")
    with h5py.File(path, "r") as file:
        embed_seconds = float(file.attrs["seconds"])
        embed_device = str(file.attrs.get("device", info.device))
    embedded = time.perf_counter()
    model = build(info.method_card, band_counts(data))
    serves = serving(model)
    query, gallery = (items(data, s, chosen.exclude) for s in (chosen.query, chosen.gallery))
    arrays = read_views(path, serves, query.ids, gallery.ids)
    result = score_views(
        arrays,
        query,
        gallery,
        label_kind=data.card.labels.kind,
        classes=data.card.labels.classes,
        seed=derive("bootstrap", data.digest, name),
        how=how,
    )
    condition = result["health"]
    now = time.perf_counter()
    probed = probe_run(run, data, chosen, serves, how) if probe and how.ranks.first else None
    record = Record(
        run=f"{info.method_card.name}-{info.method_card.scale}-seed{info.seed}",
        created=provenance.now_utc(),
        method=method_entry(info),
        dataset=dataset_entry(data),
        modalities={
            m: ModalityEntry(name=data.card.modality(m).name, bands=data.card.modality(m).used)
            for m in ("a", "b")
        },
        protocol=protocol_entry(name, chosen, query, gallery, data),
        serves=serves,
        scores=result["scores"],
        chance=result["chance"],
        per_class=result["per_class"],
        counts=result["counts"],
        health=condition,
        collapsed=bool(condition["collapsed"]),
        training=training_entry(info, model, data),
        digests={"weights": sha256_file(run.weights), "embeddings": sha256_file(path)},
        timings={
            "train_s": info.seconds,
            "embed_s": embed_seconds,
            "score_s": now - embedded,
        },
        versions=info.versions or provenance.versions(),
        hardware=info.hardware or provenance.hardware(),
        command=info.command,
        resamples=RESAMPLES,
        approximate=result["approximate"],
        probe=probed,
        devices={"embed": embed_device, "score": result["device"]},
        memory=info.memory | peak_memory("evaluate", how.chosen()),
    )
    if how.ranks.first:
        parts = [name if name != data.card.protocol else "", approximate or ""]
        default = "-".join(["record", *filter(None, parts)]) + ".json"
        write_record(Path(out) if out else run.path / default, record)
    return record


def serving(model: Method) -> dict[Direction, Serves]:
    """Which view serves the queries and the gallery of each direction."""
    return {
        cast(Direction, direction): Serves(
            query=model.view(_modality(direction[0]), direction, "query"),
            gallery=model.view(_modality(direction[1]), direction, "gallery"),
        )
        for direction in model.directions
    }


def _modality(letter: str) -> Modality:
    return "a" if letter == "a" else "b"


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


def read_views(
    path: Path, serves: dict[Direction, Serves], query_ids: np.ndarray, gallery_ids: np.ndarray
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """``{direction: (query (Nq, R), gallery (Ng, R))}``, matched by id."""
    with h5py.File(path, "r") as file:
        where = {name: row for row, name in enumerate(decode(file["ids"][...]))}
        q = np.array([where[name] for name in query_ids])
        g = np.array([where[name] for name in gallery_ids])
        read: dict[str, np.ndarray] = {}

        def view(modality: str, name: str) -> np.ndarray:
            key = f"{modality}/{name}"
            if key not in read:
                read[key] = file[key][...]
            return read[key]

        return {
            d: (view(d[0], used.query)[q], view(d[1], used.gallery)[g])
            for d, used in serves.items()
        }


def method_entry(info: RunInfo) -> MethodEntry:
    card = info.method_card
    return MethodEntry(
        name=card.name,
        title=card.title,
        kind=card.kind,
        paper=card.paper,
        scale=card.scale,
        digest=card.digest,
        card=info.method,
    )


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


def training_entry(info: RunInfo, model: Method, data: Cache) -> TrainingEntry:
    trainable: Any = (p for p in model.parameters() if p.requires_grad)
    return TrainingEntry(
        seed=info.seed,
        epochs=info.epochs_done,
        epochs_planned=info.method_card.train.epochs,
        steps=info.steps,
        train_splits=info.dataset_card.train_splits,
        n_train=info.n_train,
        seconds=info.seconds,
        checkpoint="last",
        device=info.device,
        threads=info.threads,
        precision=info.precision,
        params_trainable=count(trainable),
        params_total=count(model.parameters()),
        params_inference=count(model.inference_parameters()),
        final_terms=info.final_terms,
        finished=info.finished,
    )
