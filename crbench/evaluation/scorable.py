"""What can be scored: a run of ours, or a file of embeddings that any program wrote."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crbench import machine as provenance
from crbench.data.cache.reading import Cache
from crbench.embedding.embed import embed_run
from crbench.embedding.file import Embeddings, read_embeddings
from crbench.errors import UserError
from crbench.evaluation.score_views import How
from crbench.files import sha256_file
from crbench.models.base import Method, count
from crbench.models.registry import build_method
from crbench.records import MethodEntry, TrainingEntry
from crbench.run.folder import RunFolder, RunInfo
from crbench.run.opened import band_counts, open_dataset, open_run_cache

STATED = ("encoder", "weights", "weights_digest", "image_size", "seed", "precision")


@dataclass(frozen=True)
class Side(ABC):
    """Something with embeddings of a dataset, and what a record says about it."""

    path: Path
    data: Cache

    @abstractmethod
    def record_path(self, suffix: str) -> Path:
        """Where its record goes unless told otherwise; ``suffix`` names what is not the default."""

    @abstractmethod
    def embed(self, how: How) -> Embeddings:
        """Its embeddings, checked, on every rank."""

    @abstractmethod
    def entries(self, vectors: Embeddings) -> dict[str, Any]:
        """The fields of a record that tell what made the embeddings: run, method, training,
        digests, timings, devices, memory, versions, hardware and command."""


@dataclass(frozen=True)
class RunSide(Side):
    """A finished run folder."""

    info: RunInfo
    weights: str = "last"

    @property
    def run(self) -> RunFolder:
        """The folder and its files."""
        return RunFolder(self.path, self.weights)

    def record_path(self, suffix: str) -> Path:
        """``record.json`` in the run's folder."""
        return self.path / f"{'-'.join(filter(None, ['record', suffix]))}.json"

    def embed(self, how: How) -> Embeddings:
        """The run's embeddings, made where they are not there yet."""
        if how.ranks.first:
            embed_run(
                self.path,
                cache=self.data.path,
                device=how.device,
                quiet=how.quiet,
                weights=self.weights,
            )
        how.ranks.wait("waiting for the embeddings")
        return read_embeddings(self.run.embeddings, self.data.ids)

    def entries(self, vectors: Embeddings) -> dict[str, Any]:
        """From run.json and the files of the run."""
        info, card = self.info, self.info.method_card
        return {
            "run": f"{card.name}-{card.scale}-seed{info.seed}",
            "method": MethodEntry(
                name=card.name,
                title=card.title,
                kind=card.kind,
                paper=card.paper,
                scale=card.scale,
                digest=card.digest,
                card=info.method,
            ),
            "training": training_entry(
                info, build_method(card, band_counts(self.data)), self.weights
            ),
            "digests": {
                "weights": sha256_file(self.run.weights),
                "embeddings": sha256_file(vectors.path),
            },
            "timings": {"train_s": info.seconds, "embed_s": vectors.seconds},
            "devices": {"embed": vectors.device or info.device},
            "memory": info.memory,
            "versions": info.versions or provenance.versions(),
            "hardware": info.hardware or provenance.hardware(),
            "command": info.command,
        }


@dataclass(frozen=True)
class FileSide(Side):
    """A file of embeddings: nothing is known about it but what it holds and says."""

    name: str | None = None

    def record_path(self, suffix: str) -> Path:
        """Beside the file, by its name."""
        stem = "-".join(filter(None, ["record", self.path.stem, suffix]))
        return self.path.with_name(f"{stem}.json")

    def embed(self, how: How) -> Embeddings:
        """The file's arrays; one that says it was made from another cache is a UserError."""
        vectors = read_embeddings(self.path, self.data.ids)
        made_of = vectors.about.get("cache_digest")
        if made_of is not None and made_of != self.data.digest:
            raise UserError(
                f"these embeddings are of another cache ({str(made_of)[:12]}…, "
                f"not {self.data.digest[:12]}…)",
                where=self.path,
                fix="give the cache that was embedded by --cache, or embed again",
            )
        return vectors

    def entries(self, vectors: Embeddings) -> dict[str, Any]:
        """Its name and digest, and what it states; nothing about a training."""
        title = self.name or str(vectors.about.get("encoder", self.path.stem))
        digest = sha256_file(self.path)
        stated = {key: vectors.about[key] for key in STATED if key in vectors.about}
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
            "versions": provenance.versions(),
            "hardware": provenance.hardware(),
            "command": provenance.command(),
        }


def open_side(
    path: str | Path,
    *,
    dataset: str | None = None,
    name: str | None = None,
    cache: str | Path | None = None,
    weights: str = "last",
) -> Side:
    """The run or the file at ``path``, and the cache to score it on.

    A run brings its dataset with it; a file needs ``dataset``, the name or path of a card, and may
    go by a ``name``.
    """
    path = Path(path)
    if path.is_dir() or not path.suffix:
        info = RunFolder(path, weights).finished()
        for option, given in (("--dataset", dataset), ("--name", name)):
            if given is not None:
                raise UserError(f"{option} is for files of embeddings: a run brings its own",
                                where=path, fix=f"leave {option} out")  # fmt: skip
        return RunSide(path, open_run_cache(info, cache), info, weights)
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
    return FileSide(path, open_dataset(dataset, cache), name)


def training_entry(info: RunInfo, model: Method, weights: str) -> TrainingEntry:
    """How a run's ``weights`` (last, best) came to be, with its model's parameters counted."""
    best = info.best if weights == "best" else {}
    trainable: Any = (p for p in model.parameters() if p.requires_grad)
    return TrainingEntry(
        seed=info.seed,
        epochs=best.get("epoch", info.epochs_done),
        epochs_planned=info.method_card.train.epochs,
        steps=best.get("step", info.steps),
        train_splits=info.dataset_card.train_splits,
        n_train=info.n_train,
        seconds=info.seconds,
        checkpoint="best {metric} on val, epoch {epoch}".format(**best) if best else "last",
        device=info.device,
        threads=info.threads,
        precision=info.precision,
        params_trainable=count(trainable),
        params_total=count(model.parameters()),
        params_inference=count(model.inference_parameters()),
        final_terms=info.final_terms,
        finished=info.finished,
    )
