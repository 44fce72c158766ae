"""``crbench search``: opens a run to search in it, and answers one query."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from crbench.archive.archive import Answer, Hit, Search
from crbench.archive.queries import Queries
from crbench.cards import ProtocolCard
from crbench.data.cache.reading import Cache
from crbench.data.sources.user.images import LOADERS
from crbench.errors import UserError
from crbench.evaluation.recorded import protocol_of, weights_of
from crbench.files import sha256_file
from crbench.records import Record, read_record
from crbench.run.opened import open_run

__all__ = ["Answer", "Hit", "Search", "ask", "open_search", "search"]


def open_search(
    run: str | os.PathLike[str],
    *,
    cache: str | os.PathLike[str] | None = None,
    record: Record | None = None,
    weights: str = "last",
    device: str = "auto",
    quiet: bool = False,
) -> Search:
    """Open a finished run to search in it.

    The protocol is that of ``record``, by default of the run's own for its ``weights`` (last, best)
    or else the dataset's default. The embeddings are those that the record names. Where there is no
    record, or the run has others or none, they are made where they have to be, and ``record`` of
    what is returned is None; a ``record`` that was given is then refused.
    """
    if record is not None:
        weights = weights_of(record)
    opened = open_run(run, cache=cache, weights=weights)
    folder, data = opened.folder, opened.cache
    own = folder.path / ("record.json" if weights == "last" else f"record-{weights}.json")
    used = record or (read_record(own) if own.is_file() else None)
    name, protocol = _protocol(data, used)
    digest = sha256_file(folder.embeddings) if folder.embeddings.is_file() else ""
    if used is not None and digest != used.digests.get("embeddings"):
        if record is not None:
            raise UserError(
                "this run's embeddings are not those of the record",
                where=folder.embeddings,
                fix=f"leave --record out, or run `crbench evaluate {folder.path}` again",
            )
        used = None
    if used is None:
        from crbench.embedding.embedder import embed_run

        embed_run(opened, device=device, quiet=quiet)
        digest = sha256_file(folder.embeddings)
    queries = Queries(opened, device)
    return Search(queries, protocol, name, queries.stored.serves, used, digest)


def _protocol(data: Cache, record: Record | None) -> tuple[str, ProtocolCard]:
    """The protocol of ``record``, or the dataset's default."""
    name, groups = data.card.protocol, data.array_digests.get("groups")
    protocol = data.card.protocols[name]
    if record is not None:
        name, protocol = record.protocol.name, protocol_of(record)
    known = groups is not None and (record is None or groups == record.protocol.groups)
    if protocol.exclude == "place" and not known:
        raise UserError(
            f"the protocol '{name}' leaves out a query's place, and this cache has "
            + ("no places" if groups is None else "other places than the record"),
            where=data.path,
            fix=f"build it again: crbench cache build {data.card.name} --force",
        )
    return name, protocol


def search(
    run: str | os.PathLike[str],
    query: str | os.PathLike[str] | np.ndarray,
    *,
    direction: str | None = None,
    top: int = 20,
    cache: str | os.PathLike[str] | None = None,
    record: Record | None = None,
    weights: str = "last",
    device: str = "auto",
    quiet: bool = True,
) -> Answer:
    """The ``top`` items of a run's archive nearest to ``query``: the id of a pair of its cache, the
    path of an image, or pixels (C, H, W) as :meth:`Search.by_image` takes them.

    To ask more than once, keep what :func:`open_search` gives.
    """
    opened = open_search(
        run, cache=cache, record=record, weights=weights, device=device, quiet=quiet
    )
    if isinstance(query, (str, os.PathLike)):
        return ask(opened, os.fspath(query), direction, top)
    return opened.by_image(np.asarray(query), direction, top)


def ask(opened: Search, query: str, direction: str | None = None, top: int = 20) -> Answer:
    """Answer a query that is an id, or else the path of an image."""
    if query in opened.row_of:
        return opened.by_id(query, direction, top)
    if os.path.isfile(query) or Path(query).suffix.lower() in LOADERS:
        return opened.by_file(Path(query), direction, top)
    return opened.by_id(query, direction, top)  # says which ids are near
