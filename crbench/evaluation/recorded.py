"""A run together with its record: what pictures and searches of an evaluated run start from."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from crbench.cards import ProtocolCard
from crbench.embedding.file import Embeddings, read_embeddings
from crbench.errors import UserError
from crbench.files import sha256_file
from crbench.records import Record, Serves, read_record
from crbench.run.folder import RunFolder
from crbench.run.opened import OpenedRun, open_run


@dataclass(frozen=True)
class EvaluatedRun(OpenedRun):
    """An opened run, the record that names its cache, and the embeddings that were scored."""

    record: Record
    embeddings: Embeddings

    @property
    def protocol(self) -> ProtocolCard:
        """The protocol of the record."""
        return protocol_of(self.record)

    @property
    def serves(self) -> dict[str, Serves]:
        """Direction → the views that served it."""
        return {str(direction): views for direction, views in self.record.serves.items()}

    @property
    def title(self) -> str:
        """Method, dataset and seed, for the head of a picture."""
        training = self.record.training
        seed = f", seed {training.seed}" if training is not None else ""
        return f"{self.record.method.title} on {self.record.dataset.title}{seed}"


def open_evaluated(
    path: str | os.PathLike[str],
    *,
    record: Record | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> EvaluatedRun:
    """Open an evaluated run folder, by its own record or another one of it.

    Embeddings and a cache that the record does not name are refused, since a picture of them would
    show something else than the record says.
    """
    record = record or read_record(RunFolder(Path(path)).record)
    run = open_run(path, cache=cache, weights=weights_of(record))
    if run.cache.digest != record.dataset.cache_digest:
        raise UserError(
            "this cache is not the one of the record",
            where=run.cache.path,
            fix="name it by --cache",
        )
    file = run.folder.embeddings
    if not file.is_file():
        raise UserError("no embeddings", where=file, fix="run `crbench evaluate` on the run first")
    if sha256_file(file) != record.digests.get("embeddings"):
        raise UserError(
            "these embeddings are not those of the record",
            where=file,
            fix="run `crbench evaluate` on the run again, or name its record",
        )
    return EvaluatedRun(**vars(run), record=record, embeddings=read_embeddings(file, run.cache.ids))


def weights_of(record: Record) -> str:
    """Which weights were scored: ``last`` or ``best``."""
    last = record.training is None or record.training.checkpoint == "last"
    return "last" if last else "best"


def protocol_of(record: Record) -> ProtocolCard:
    """The protocol that a record was scored by."""
    used = record.protocol
    return ProtocolCard(query=used.query, gallery=used.gallery, exclude=used.exclude)
