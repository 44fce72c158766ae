"""What pictures of a run are drawn from: its record, its cache and the embeddings that it names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crbench.cards import ProtocolCard
from crbench.errors import UserError
from crbench.files import read_json, sha256_file
from crbench.records import Record, Serves, read_record
from crbench.words import DIRECTIONS

if TYPE_CHECKING:
    from crbench.data.cache.reading import Cache


@dataclass(frozen=True)
class Views:
    """Embeddings by id: ``arrays[modality][view]`` is (N, R) float32, row i belongs to ids[i]."""

    ids: np.ndarray
    arrays: Mapping[str, Mapping[str, np.ndarray]]

    def rows(self, ids: np.ndarray) -> np.ndarray:
        """Row of each id; one that is not there is a UserError."""
        where = {str(name): row for row, name in enumerate(self.ids)}
        missing = [str(name) for name in ids if str(name) not in where]
        if missing:
            raise UserError(
                f"{len(missing)} ids have no embedding, e.g. {', '.join(missing[:3])}",
                fix="run `crbench embed` on this run again",
            )
        return np.array([where[str(name)] for name in ids])

    def of(self, modality: str, view: str, ids: np.ndarray) -> np.ndarray:
        """Embeddings (len(ids), R) of one view of one modality, in the order of ``ids``."""
        return self.arrays[modality][view][self.rows(ids)]


def read_views(path: Path) -> Views:
    """The embeddings file of a run (``/ids``, ``/a/<view>``, ``/b/<view>``)."""
    import h5py

    if not path.is_file():
        raise UserError("no embeddings", where=path, fix="run `crbench evaluate` on the run first")
    with h5py.File(path, "r") as file:
        arrays = {m: {view: data[...] for view, data in file[m].items()} for m in ("a", "b")}
        return Views(file["ids"].asstr()[...], arrays)


@dataclass(frozen=True)
class Opened:
    """An evaluated run, ready to be drawn."""

    record: Record
    cache: Cache
    views: Views
    protocol: ProtocolCard
    serves: dict[str, Serves]

    @property
    def title(self) -> str:
        """Method, dataset and seed, for the head of a picture."""
        training = self.record.training
        seed = f", seed {training.seed}" if training is not None else ""
        return f"{self.record.method.title} on {self.record.dataset.title}{seed}"


def open_run(run: Path, *, record: Record | None = None, cache: Path | None = None) -> Opened:
    """Open an evaluated run folder; embeddings or a cache that its record does not name are
    refused, since a picture of them would show something else than the record says."""
    from crbench.data.cache.reading import open_cache

    entry = record or read_record(run / "record.json")
    best = entry.training is not None and entry.training.checkpoint != "last"
    file = run / ("embeddings-best.h5" if best else "embeddings.h5")
    views = read_views(file)
    if sha256_file(file) != entry.digests.get("embeddings"):
        raise UserError(
            "these embeddings are not those of the record",
            where=file,
            fix="run `crbench evaluate` on the run again, or name its record",
        )
    data = open_cache(cache or Path(read_json(run / "run.json")["cache"]))
    if data.digest != entry.dataset.cache_digest:
        raise UserError(
            "this cache is not the one of the record", where=data.path, fix="name it by --cache"
        )
    used = entry.protocol
    return Opened(
        record=entry,
        cache=data,
        views=views,
        protocol=ProtocolCard(query=used.query, gallery=used.gallery, exclude=used.exclude),
        serves={str(direction): served for direction, served in entry.serves.items()},
    )


@dataclass(frozen=True)
class Hits:
    """Top items of one query in one direction: cache rows and cosine scores, best first."""

    direction: str
    query: int
    items: np.ndarray
    scores: np.ndarray


def nearest(
    cache: Cache,
    views: Views,
    serves: Mapping[str, Serves],
    protocol: ProtocolCard,
    queries: np.ndarray,
    k: int,
) -> list[Hits]:
    """Top ``k`` of each query (cache rows) in every direction, as the scorer ranks them."""
    from crbench.scoring import top_k

    gallery = cache.rows(protocol.gallery)
    query_ids, gallery_ids = cache.ids[queries], cache.ids[gallery]
    places = None
    if protocol.exclude == "place" and cache.places is not None:
        places = cache.places[queries], cache.places[gallery]
    found = []
    for direction in (d for d in DIRECTIONS if d in serves):
        served = serves[direction]
        indices, scores = top_k(
            views.of(direction[0], served.query, query_ids),
            views.of(direction[1], served.gallery, gallery_ids),
            k,
            query_ids,
            gallery_ids,
            exclude_self=direction in ("aa", "bb"),
            groups=places,
        )
        found += [
            Hits(direction, int(query), gallery[indices[i]], scores[i])
            for i, query in enumerate(queries)
        ]
    return found
