"""Retrieval grids: a query and its nearest items in all four directions, right and wrong framed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crbench.cards import ProtocolCard
from crbench.errors import UserError
from crbench.files import read_json
from crbench.records import Record, Serves, read_record
from crbench.report import sheet
from crbench.report.metrics import DIRECTIONS, arrow
from crbench.report.preview import label_names
from crbench.report.render import pictures
from crbench.seeds import derive

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from crbench.data.cache import Cache

SIDE, GAP, LEFT = 1.5, 0.2, 0.35  # inches
ROOM = 27  # characters of a caption line under a thumbnail
LABEL_LINES = 3


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


def read_views(path: Path) -> Views:
    """The embeddings file of a run (``/ids``, ``/a/<view>``, ``/b/<view>``)."""
    import h5py

    if not path.is_file():
        raise UserError("no embeddings", where=path, fix="run `crbench evaluate` on the run first")
    with h5py.File(path, "r") as file:
        arrays = {m: {view: data[...] for view, data in file[m].items()} for m in ("a", "b")}
        return Views(file["ids"].asstr()[...], arrays)


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
            views.arrays[direction[0]][served.query][views.rows(query_ids)],
            views.arrays[direction[1]][served.gallery][views.rows(gallery_ids)],
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


def retrieval_grid(
    cache: Cache,
    views: Views,
    serves: Mapping[str, Serves],
    protocol: ProtocolCard,
    out: Path,
    *,
    title: str = "",
    n_queries: int = 2,
    k: int = 5,
    queries: Sequence[str] | None = None,
) -> Path:
    """Write a PNG (or PDF) of queries and their top ``k`` in all four directions.

    Without ``queries`` (ids) the ``n_queries`` are drawn by a fixed seed from the query set, never
    chosen for how well they do. A green frame is a relevant item by the dataset's labels, a red
    one is not; under each stand its score and the labels it shares with the query.
    """
    chosen = _choose(cache, protocol, n_queries, queries)
    hits = nearest(cache, views, serves, protocol, chosen, k)
    shown = _pictures(cache, hits)
    row_height = SIDE + 0.1 + sheet.LINE * (LABEL_LINES + 1) + 0.12
    directions = list(dict.fromkeys(hit.direction for hit in hits))
    block = 0.36 + row_height * len(chosen)
    top = 1.0
    width = 2 * LEFT + (k + 1) * SIDE + k * GAP + 0.25
    figure = sheet.blank(width, top + block * len(directions))
    sheet.write(figure, LEFT, 0.16, title or cache.card.title, size=13, bold=True)
    gallery = len(cache.rows(protocol.gallery))
    picked = "given" if queries else "drawn at random by a fixed seed"
    sheet.write(
        figure,
        LEFT,
        0.46,
        f"Top {k} of {gallery:,} items ({' + '.join(protocol.gallery)}); queries {picked}.   "
        f"Green ✓: {_relevance(cache)}.   Red ✗: not.   Number: cosine.",
        size=8.5,
        color=sheet.FAINT,
    )
    sensors = {m: cache.card.modality(m).name for m in ("a", "b")}
    for number, direction in enumerate(directions):
        y = top + number * block - 0.1
        sheet.write(figure, LEFT, y, arrow(direction, sensors), size=11, bold=True)
        y += 0.3
        for hit in (hit for hit in hits if hit.direction == direction):
            _draw_row(figure, cache, hit, shown, y)
            y += row_height
    return sheet.save(figure, out)


def _choose(
    cache: Cache, protocol: ProtocolCard, n: int, queries: Sequence[str] | None
) -> np.ndarray:
    rows = cache.rows(protocol.query)
    if queries:
        place = {str(cache.ids[row]): row for row in rows}
        if missing := [name for name in queries if name not in place]:
            raise UserError(
                f"no query named '{missing[0]}'", where=cache.path, fix="give ids of the query set"
            )
        return np.array([place[name] for name in queries])
    rng = np.random.default_rng(derive("grid", cache.digest))
    return np.sort(rng.choice(rows, size=min(n, len(rows)), replace=False))


def _pictures(cache: Cache, hits: Sequence[Hits]) -> dict[tuple[str, int], np.ndarray]:
    """Every thumbnail once, keyed by (modality, cache row), stretched with common limits."""
    wanted = {(hit.direction[0], hit.query) for hit in hits}
    wanted |= {(hit.direction[1], int(row)) for hit in hits for row in hit.items}
    shown: dict[tuple[str, int], np.ndarray] = {}
    for modality in ("a", "b"):
        rows = sorted(row for m, row in wanted if m == modality)
        if rows:
            drawn = pictures(cache.images(modality)[rows], cache.card.modality(modality))
            shown |= {(modality, row): drawn[i] for i, row in enumerate(rows)}
    return shown


def _relevance(cache: Cache) -> str:
    return {
        "multi": "shares at least one label with the query",
        "single": "has the query's class",
        "none": "is the query's own pair",
    }[cache.card.labels.kind]


def _draw_row(
    figure: Figure,
    cache: Cache,
    hit: Hits,
    shown: Mapping[tuple[str, int], np.ndarray],
    y: float,
) -> None:
    labels = label_names(cache, hit.query)
    caption = [("query", sheet.INK, True)]
    caption += [(t, sheet.INK, False) for t in sheet.label_lines(labels, ROOM, LABEL_LINES)]
    picture = shown[hit.direction[0], hit.query]
    sheet.thumbnail(figure, LEFT, y, SIDE, picture, sheet.PLAIN, caption)
    for rank, (row, score) in enumerate(zip(hit.items, hit.scores, strict=True)):
        right, lines = judge(cache, hit.query, int(row))
        color = sheet.RIGHT if right else sheet.WRONG
        pair = " · own pair" if row == hit.query else ""
        caption = [(f"{'✓' if right else '✗'} {score:.2f}{pair}", color, True)]
        caption += [(text, sheet.INK if right else sheet.FAINT, False) for text in lines]
        x = LEFT + 0.25 + (rank + 1) * (SIDE + GAP)
        picture = shown[hit.direction[1], int(row)]
        sheet.thumbnail(figure, x, y, SIDE, picture, color, caption)


def judge(cache: Cache, query: int, item: int) -> tuple[bool, list[str]]:
    """Whether ``item`` is relevant to ``query`` (cache rows), and the caption that says why."""
    kind = cache.card.labels.kind
    if kind == "none":
        return item == query, [sheet.shorten(str(cache.ids[item]), ROOM)]
    mine, theirs = label_names(cache, query), label_names(cache, item)
    shared = [label for label in theirs if label in mine]
    if kind == "single" or not shared:
        lines = theirs or ["no label"]
        return bool(shared), sheet.label_lines(lines, ROOM, LABEL_LINES)
    head = f"shares {len(shared)} of {len(mine)}, has {len(theirs)}:"
    return True, [head, *sheet.label_lines(shared, ROOM, LABEL_LINES - 1)]


def run_grid(
    run: Path,
    out: Path,
    *,
    record: Record | None = None,
    cache: Path | None = None,
    n_queries: int = 2,
) -> Path:
    """The grid of an evaluated run folder, by its record, its embeddings and its cache."""
    from crbench.data.cache import open_cache

    entry = record or read_record(run / "record.json")
    data = open_cache(cache or Path(read_json(run / "run.json")["cache"]))
    used = entry.protocol
    protocol = ProtocolCard(query=used.query, gallery=used.gallery, exclude=used.exclude)
    serves = {str(direction): served for direction, served in entry.serves.items()}
    seed = f", seed {entry.training.seed}" if entry.training else ""
    return retrieval_grid(
        data,
        read_views(run / "embeddings.h5"),
        serves,
        protocol,
        out,
        title=f"{entry.method.title} on {entry.dataset.title}{seed}",
        n_queries=n_queries,
    )
