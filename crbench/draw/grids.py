"""Retrieval grids: a query and its nearest items in all four directions, right and wrong framed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crbench.data.pair_labels import distances, label_names, relevant
from crbench.draw import sheet
from crbench.draw.render import pictures
from crbench.errors import UserError
from crbench.evaluation.recorded import open_evaluated
from crbench.records import Record
from crbench.scoring import top_k
from crbench.seeds import derive
from crbench.words import DIRECTIONS, SAME_MODAL, arrow

if TYPE_CHECKING:
    from crbench.cards import ProtocolCard
    from crbench.data.cache.reading import Cache
    from crbench.embedding.file import Embeddings


@dataclass(frozen=True)
class Neighbours:
    """Top items of one query in one direction: cache rows and cosine scores, best first."""

    direction: str
    query: int
    items: np.ndarray
    scores: np.ndarray


def neighbours_of(
    cache: Cache, embeddings: Embeddings, protocol: ProtocolCard, queries: np.ndarray, k: int
) -> list[Neighbours]:
    """Top ``k`` of each query (cache rows) in every direction, as the scorer ranks them."""
    gallery = cache.rows(protocol.gallery)
    query_ids, gallery_ids = cache.ids[queries], cache.ids[gallery]
    groups = None
    if protocol.exclude == "place" and cache.places is not None:
        groups = cache.places[queries], cache.places[gallery]
    lines = []
    for direction in (d for d in DIRECTIONS if d in embeddings.serves):
        query_name, gallery_name = embeddings.serves[direction]
        positions, scores = top_k(
            embeddings.of(query_name, query_ids),
            embeddings.of(gallery_name, gallery_ids),
            k,
            query_ids,
            gallery_ids,
            exclude_self=direction in SAME_MODAL or protocol.exclude == "pair",
            groups=groups,
        )
        lines += [
            Neighbours(direction, int(row), gallery[positions[i]], scores[i])
            for i, row in enumerate(queries)
        ]
    return lines


def retrieval_grid(
    cache: Cache,
    embeddings: Embeddings,
    protocol: ProtocolCard,
    out: Path,
    *,
    title: str = "",
    n_queries: int = 2,
    k: int = 5,
    queries: Sequence[str] | None = None,
    wrong_only: bool = False,
) -> Path:
    """Write a PNG (or PDF) of queries and their top ``k`` in all four directions.

    Without ``queries`` (ids) the ``n_queries`` are drawn by a fixed seed from the query set, never
    chosen for how well they do; with ``wrong_only`` each direction draws them from its queries
    with a wrong item among the top ``k``. A green frame is a relevant item by the dataset's
    labels, a red one is not; under each stand its score and the labels it shares with the query.
    """
    chosen, how = _chosen(cache, embeddings, protocol, n_queries, k, queries, wrong_only)
    sensors = {m: cache.card.modality(m).name for m in ("a", "b")}
    shown = thumbnails(cache, {
        (m, row)
        for _, hits in chosen.values() for hit in hits
        for m, row in [(hit.direction[0], hit.query), *((hit.direction[1], i) for i in hit.items)]
    })  # fmt: skip
    sections = [
        (f"{arrow(direction, sensors)}{count}", [_line(cache, hit, shown) for hit in hits])
        for direction, (count, hits) in chosen.items()
    ]
    gallery = f"{len(cache.rows(protocol.gallery)):,} items ({' + '.join(protocol.gallery)})"
    notes = [
        f"Top {k} of {gallery}; queries {how}.",
        f"Green ✓: {relevance_words(cache)}.  Red ✗: not.  Number: cosine.  {channel_words(cache)}",
    ]
    return sheet.save(sheet.thumbnail_sheet(title or cache.card.title, notes, sections), out)


def _chosen(
    cache: Cache,
    embeddings: Embeddings,
    protocol: ProtocolCard,
    n_queries: int,
    k: int,
    queries: Sequence[str] | None,
    wrong_only: bool,
) -> tuple[dict[str, tuple[str, list[Neighbours]]], str]:
    """What is drawn in each direction, with a count for its heading, and how it was chosen."""
    rows = _named(cache, protocol, queries) if queries else _drawn(cache, protocol)
    if queries is None and not wrong_only:
        rows = np.sort(rows[:n_queries])
    hits: dict[str, list[Neighbours]] = {d: [] for d in DIRECTIONS if d in embeddings.serves}
    for hit in neighbours_of(cache, embeddings, protocol, rows, k):
        if not wrong_only or not relevant(cache, hit.query, hit.items).all():
            hits[hit.direction].append(hit)
    how = "given" if queries else "drawn at random by a fixed seed"
    if not wrong_only:
        return {direction: ("", those) for direction, those in hits.items()}, how
    count = f"of {len(rows):,} queries have a wrong item"
    most = len(rows) if queries else n_queries
    chosen = {d: (f"   {len(those):,} {count}", those[:most]) for d, those in hits.items()}
    return chosen, f"{how} among those with a wrong item in the top {k}"


def _named(cache: Cache, protocol: ProtocolCard, queries: Sequence[str]) -> np.ndarray:
    row_of = {str(cache.ids[row]): row for row in cache.rows(protocol.query)}
    if missing := [name for name in queries if name not in row_of]:
        raise UserError(
            f"no query named '{missing[0]}'", where=cache.path, fix="give ids of the query set"
        )
    return np.array([row_of[name] for name in queries])


def _drawn(cache: Cache, protocol: ProtocolCard) -> np.ndarray:
    """All queries (cache rows) in an order that depends on the cache alone."""
    rng = np.random.default_rng(derive("grid", cache.digest))
    return np.asarray(rng.permutation(cache.rows(protocol.query)))


def relevance_words(cache: Cache) -> str:
    """What an item does or is that makes it right."""
    return {
        "multi": "shares at least one label with the query",
        "single": "has the query's class",
        "none": "is the query's own pair",
        "place": f"lies within {cache.card.labels.radius_m or 0:,.0f} m of the query",
    }[cache.card.labels.kind]


def channel_words(cache: Cache) -> str:
    """Which bands of each sensor are shown."""
    shown = [
        f"{card.name}: {', '.join(card.display)}{', ratio' * (len(card.display) == 2)}"
        for card in (cache.card.modality(m) for m in ("a", "b"))
    ]
    return f"Shown {'; '.join(shown)}."


def query_thumbnail(
    picture: np.ndarray, name: Sequence[tuple[str, str]], labels: Sequence[str]
) -> sheet.Thumbnail:
    """The query in the first column, with lines (text, colour) and labels below."""
    caption = [("query", sheet.INK, True), *((text, color, False) for text, color in name)]
    caption += [(text, sheet.INK, False) for text in labels]
    return sheet.Thumbnail([picture], caption, room=sheet.CAPTION + 0.2)


def _line(
    cache: Cache, hit: Neighbours, shown: Mapping[tuple[str, int], np.ndarray]
) -> list[sheet.Thumbnail]:
    """A query and its items in one direction, with what is written under each."""
    mine, theirs = hit.direction[0], hit.direction[1]
    labels = sheet.label_lines(label_names(cache, hit.query), sheet.CAPTION, sheet.CAPTION_LINES)
    line = [query_thumbnail(shown[mine, hit.query], [], labels)]
    for row, score in zip(map(int, hit.items), hit.scores, strict=True):
        right, texts = explain_hit(cache, hit.query, row)
        color = sheet.RIGHT if right else sheet.WRONG
        pair = " · own pair" if row == hit.query else ""
        caption = [(f"{'✓' if right else '✗'} {score:.2f}{pair}", color, True)]
        caption += [(text, sheet.INK if right else sheet.FAINT, False) for text in texts]
        line.append(sheet.Thumbnail([shown[theirs, row]], caption, color))
    return line


def thumbnails(
    cache: Cache, wanted: Collection[tuple[str, int]]
) -> dict[tuple[str, int], np.ndarray]:
    """Pictures (H, W, 3) of ``wanted`` (modality, cache row), those of a modality stretched with
    common limits."""
    shown: dict[tuple[str, int], np.ndarray] = {}
    for modality in ("a", "b"):
        rows = sorted({row for m, row in wanted if m == modality})
        if rows:
            drawn = pictures(cache.images(modality)[rows], cache.card.modality(modality))
            shown |= {(modality, row): drawn[i] for i, row in enumerate(rows)}
    return shown


def explain_hit(cache: Cache, query: int, item: int) -> tuple[bool, list[str]]:
    """Whether ``item`` is relevant to ``query`` (cache rows), and the caption that says why."""
    right = bool(relevant(cache, query, np.array([item]))[0])
    kind = cache.card.labels.kind
    if kind == "none":
        return right, sheet.wrap(str(cache.ids[item]), sheet.CAPTION)
    if kind == "place":
        away = float(distances(cache, query, np.array([item]))[0])
        return right, [f"{away:,.0f} m away" if away < 10_000 else f"{away / 1000:,.0f} km away"]
    mine, theirs = label_names(cache, query), label_names(cache, item)
    if kind == "single" or not right:
        return right, sheet.label_lines(theirs or ["no label"], sheet.CAPTION, sheet.CAPTION_LINES)
    shared = [label for label in theirs if label in mine]
    head = f"shares {len(shared)} of {len(mine)}, has {len(theirs)}:"
    return right, [head, *sheet.label_lines(shared, sheet.CAPTION, sheet.CAPTION_LINES - 1)]


def run_grid(
    run: Path,
    out: Path,
    *,
    record: Record | None = None,
    cache: Path | None = None,
    **choice: Any,
) -> Path:
    """The grid of an evaluated run folder, by its record, its embeddings and its cache; ``choice``
    are the options of :func:`retrieval_grid`."""
    opened = open_evaluated(run, record=record, cache=cache)
    shown = opened.cache, opened.embeddings, opened.protocol
    return retrieval_grid(*shown, out, title=opened.title, **choice)
