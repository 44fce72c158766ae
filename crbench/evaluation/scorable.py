"""What can be scored: a run of ours, or a file of embeddings that any program wrote.

Each has a ``path`` and a ``cache``, gives its embeddings, says where its record goes and fills the
fields of a record that tell what made the embeddings: run, method, training, digests, timings,
devices, memory, versions, hardware and command.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from crbench import machine
from crbench.cards import ProtocolCard
from crbench.data.cache.reading import Cache
from crbench.data.pairs import Pairs
from crbench.embedding.embedder import Embedder, embed_run
from crbench.embedding.file import Embeddings, read_embeddings
from crbench.errors import UserError
from crbench.files import sha256_file
from crbench.models.base import Method, count
from crbench.models.registry import build_method
from crbench.records import DatasetEntry, MethodEntry, ProtocolEntry, TrainingEntry
from crbench.run.devices import Ranks, pick_device
from crbench.run.folder import RunInfo
from crbench.run.opened import OpenedRun, band_counts, open_dataset, open_run, open_run_on
from crbench.scoring import Items
from crbench.scoring.protocol import Arrays
from crbench.scoring.search import Gallery, scale_rows

_TIMED, _TOP = 30, 10  # queries of which the time is taken, and the items that each looks for
_STATED = ("encoder", "weights", "weights_digest", "image_size", "seed", "precision")


class ScorableRun(OpenedRun):
    """A finished run, opened."""

    @property
    def record_path(self) -> Path:
        """``record`` in the run's folder: where its record goes, without the ending."""
        return self.folder.record.with_suffix("")

    def embed(self, device: str, ranks: Ranks, quiet: bool) -> Embeddings:
        """The run's embeddings, made where they are not there yet, checked, on every rank."""
        if ranks.first:
            embed_run(self, device=device, quiet=quiet)
        ranks.wait("waiting for the embeddings")
        return read_embeddings(self.folder.embeddings, self.cache.ids)

    def _trained_on(self) -> DatasetEntry | None:
        """The set of the training, where the run is scored on another one."""
        if not self.folder.on:
            return None
        info, card = self.info, self.info.dataset_card
        keys = ("name", "title", "synthetic", "note", "scale")
        return DatasetEntry(
            card_digest=card.digest,
            cache_digest=info.cache_digest,
            card=card.to_dict(),
            sizes={" + ".join(card.train_splits): info.n_train},
            **{key: getattr(card, key) for key in keys},
        )

    def entries(self, vectors: Embeddings) -> dict[str, Any]:
        """From run.json and the files of the run."""
        folder, info, card = self.folder, self.info, self.info.method_card
        keys = ("name", "title", "kind", "paper", "scale", "digest")
        return {
            "run": f"{card.name}-{card.scale}-seed{info.seed}",
            "method": MethodEntry(card=info.method, **{key: getattr(card, key) for key in keys}),
            "trained_on": self._trained_on(),
            "training": _training_entry(
                info, build_method(card, band_counts(info.dataset_card)), folder.which
            ),
            "digests": {
                "weights": sha256_file(folder.weights),
                "embeddings": sha256_file(vectors.path),
            },
            "timings": {"train_s": info.seconds, "embed_s": vectors.seconds},
            "devices": {"embed": vectors.device or info.device},
            "memory": info.memory,
            "versions": info.versions or machine.versions(),
            "hardware": info.hardware or machine.hardware(),
            "command": info.command,
        }


@dataclass(frozen=True)
class ScorableFile:
    """A file of embeddings: nothing is known about it but what it holds and says."""

    path: Path
    cache: Cache
    name: str | None = None

    @property
    def record_path(self) -> Path:
        """Beside the file, by its name."""
        return self.path.with_name(f"record-{self.path.stem}")

    def embed(self, device: str, ranks: Ranks, quiet: bool) -> Embeddings:
        """The file's arrays; one that says it was made from another cache is a UserError."""
        vectors = read_embeddings(self.path, self.cache.ids)
        made_of = vectors.about.get("cache_digest")
        if made_of is not None and made_of != self.cache.digest:
            raise UserError(
                f"these embeddings are of another cache ({str(made_of)[:12]}…, "
                f"not {self.cache.digest[:12]}…)",
                where=self.path,
                fix="give the cache that was embedded by --cache, or embed again",
            )
        return vectors

    def entries(self, vectors: Embeddings) -> dict[str, Any]:
        """Its name and digest, and what it states; nothing about a training."""
        title = self.name or str(vectors.about.get("encoder", self.path.stem))
        digest = sha256_file(self.path)
        stated = {key: vectors.about[key] for key in _STATED if key in vectors.about}
        weights = vectors.about.get("weights_digest")
        return {
            "run": f"{title}-{digest[:12]}",
            "method": MethodEntry(
                name=title,
                title=title,
                kind="external",
                paper="",
                scale="not stated",
                digest=digest,
                card={"file": self.path.name, "sha256": digest[:12], **stated},
            ),
            "training": None,
            "digests": {"embeddings": digest} | ({"weights": str(weights)} if weights else {}),
            "timings": {"embed_s": vectors.seconds} if vectors.seconds else {},
            "devices": {"embed": vectors.device} if vectors.device else {},
            "memory": {},
            "versions": machine.versions(),
            "hardware": machine.hardware(),
            "command": machine.command(),
        }


Scorable = ScorableRun | ScorableFile


def open_scorable(
    path: str | Path,
    *,
    dataset: str | None = None,
    name: str | None = None,
    cache: str | Path | None = None,
    weights: str = "last",
    on: str | None = None,
) -> Scorable:
    """The run or the file at ``path``, and the cache to score it on.

    A run brings its dataset with it, unless it is scored ``on`` another card's; a file needs
    ``dataset``, the name or path of a card, and may go by a ``name``.
    """
    path = Path(path)
    if path.is_dir() or not path.suffix:
        for option, value in (("--dataset", dataset), ("--name", name)):
            if value is not None:
                raise UserError(f"{option} is for files of embeddings: a run brings its own",
                                where=path, fix=f"leave {option} out")  # fmt: skip
        if on is not None:
            return ScorableRun(**vars(open_run_on(path, on, cache=cache, weights=weights)))
        return ScorableRun(**vars(open_run(path, cache=cache, weights=weights)))
    if on is not None:
        raise UserError("--on is for runs", where=path, fix="name a file's dataset by --dataset")
    if not path.is_file():
        raise UserError("no such run or file of embeddings", where=path, fix="check the path")
    if weights != "last":
        raise UserError("--weights is for runs", where=path, fix="leave it out")
    if dataset is None:
        raise UserError(
            "a file of embeddings does not say which dataset it is of",
            where=path,
            fix="name its card by --dataset",
        )
    return ScorableFile(path, open_dataset(dataset, cache), name)


def _training_entry(info: RunInfo, model: Method, weights: str) -> TrainingEntry:
    """How a run's ``weights`` (last, best) came to be, with its model's parameters counted."""
    best = info.best if weights == "best" else {}
    trainable: Any = (p for p in model.parameters() if p.requires_grad)
    same = (
        "seed",
        "n_train",
        "seconds",
        "device",
        "threads",
        "precision",
        "final_terms",
        "gradient_shares",
        "finished",
    )
    return TrainingEntry(
        epochs=best.get("epoch", info.epochs_done),
        epochs_planned=info.method_card.train.epochs,
        steps=best.get("step", info.steps),
        train_splits=info.dataset_card.train_splits,
        checkpoint="best {metric} on val, epoch {epoch}".format(**best) if best else "last",
        params_trainable=count(trainable),
        params_total=count(model.parameters()),
        params_inference=count(model.inference_parameters()),
        **{key: getattr(info, key) for key in same},
    )


def dataset_entry(data: Cache) -> DatasetEntry:
    """What a record says of the dataset."""
    card = data.card
    names, sizes = np.unique(data.split, return_counts=True)
    keys = ("name", "title", "synthetic", "note", "scale")
    return DatasetEntry(
        card_digest=card.digest,
        cache_digest=data.digest,
        card=card.to_dict(),
        sizes=dict(zip(names.tolist(), sizes.tolist(), strict=True)),
        **{key: getattr(card, key) for key in keys},
    )


def protocol_entry(name: str, query: Items, gallery: Items, data: Cache) -> ProtocolEntry:
    """What a record says of the protocol of the card by this name."""
    card = data.card.protocols[name]
    return ProtocolEntry(
        name=name,
        query=card.query,
        gallery=card.gallery,
        n_query=len(query.ids),
        n_gallery=len(gallery.ids),
        exclude_self=True,
        exclude=card.exclude,
        resample=card.resample,
        groups=data.array_digests["groups"] if card.exclude == "place" else None,
        similarity="cosine, float32",
        ties="expected over random order",
    )


class _One:
    """One pair of some as a set of its own."""

    def __init__(self, pairs: Pairs, at: int) -> None:
        self.pairs, self.at = pairs, at

    def __len__(self) -> int:
        return 1

    def images(self, modality: str, positions: np.ndarray) -> Tensor:
        return self.pairs.images(modality, np.array([self.at]))


def query_seconds(
    scorable: Scorable, protocol: ProtocolCard, arrays: Mapping[str, Arrays], device: str
) -> dict[str, float]:
    """Median seconds of a query in the first direction across sensors, else the first there is:
    ``query_search_s``, the exact top ten, and of a run ``query_embed_s``, from its pixels on.

    One at a time, as a user asks, on the device that embeds. ``arrays``: what serves a direction.
    """
    direction = next((d for d in ("ab", "ba") if d in arrays), next(iter(arrays)))
    queries, gallery = arrays[direction]
    items = Gallery(np.arange(len(gallery)).astype(str), scale_rows(gallery))
    chosen = np.linspace(0, len(queries) - 1, min(_TIMED, len(queries)) + 1).astype(int)
    times: dict[str, list[float]] = {"query_search_s": []}
    for at in chosen:
        started = time.perf_counter()
        items.nearest(queries[at], min(_TOP, len(gallery)))
        times["query_search_s"].append(time.perf_counter() - started)
    if isinstance(scorable, ScorableRun):
        on, modality = pick_device(device), "a" if direction[0] == "a" else "b"
        embedder = Embedder.of_run(scorable.folder, scorable.info, on)
        pairs = Pairs(
            scorable.cache, protocol.query, image_size=embedder.model.image_size, device=on,
            modalities=(modality,), loading="stream",
        )  # fmt: skip
        times["query_embed_s"] = []
        for at in chosen:
            started = time.perf_counter()
            embedder.embed(_One(pairs, int(at)), modality)  # type: ignore[arg-type]
            times["query_embed_s"].append(time.perf_counter() - started)
    # the first of each warms the caches and is left out
    return {name: statistics.median(seconds[1:]) for name, seconds in times.items()}
