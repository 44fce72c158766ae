"""Retrieval grids: a query and its nearest items in all four directions, right and wrong framed."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crbench.cards import ProtocolCard
from crbench.data.pair_labels import label_names, relevant
from crbench.draw import sheet
from crbench.draw.render import pictures
from crbench.draw.run import Hits, Views, nearest, open_run
from crbench.errors import UserError
from crbench.records import Record, Serves
from crbench.seeds import derive
from crbench.words import DIRECTIONS, arrow

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from crbench.data.cache.reading import Cache

SIDE, GAP, LEFT = 1.5, 0.25, 0.35  # inches
ROOM = SIDE + GAP - 0.08  # width of a caption, in inches
MOST = 8  # caption lines under a thumbnail, the first one aside

Caption = list[tuple[str, str, bool]]  # text, colour, bold


@dataclass(frozen=True)
class Line:
    """A query and its items in one direction, with what is written under each."""

    hit: Hits
    query: Caption
    items: list[tuple[str, Caption]]  # frame and caption

    @property
    def height(self) -> float:
        """Inches that the line takes, so that no caption runs into the next one."""
        most = max(len(caption) for caption in [self.query, *(c for _, c in self.items)])
        return SIDE + 0.1 + sheet.LINE * most + 0.16


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
    wrong_only: bool = False,
) -> Path:
    """Write a PNG (or PDF) of queries and their top ``k`` in all four directions.

    Without ``queries`` (ids) the ``n_queries`` are drawn by a fixed seed from the query set, never
    chosen for how well they do; with ``wrong_only`` each direction draws them from its queries
    with a wrong item among the top ``k``. A green frame is a relevant item by the dataset's
    labels, a red one is not; under each stand its score and the labels it shares with the query.
    """
    rows = _given(cache, protocol, queries) if queries else _drawn(cache, protocol)
    if queries is None and not wrong_only:
        rows = np.sort(rows[:n_queries])
    hits = nearest(cache, views, serves, protocol, rows, k)
    chosen: dict[str, list[Hits]] = {d: [] for d in DIRECTIONS if d in serves}
    for hit in hits:
        if not wrong_only or not relevant(cache, hit.query, hit.items).all():
            chosen[hit.direction].append(hit)
    sensors = {m: cache.card.modality(m).name for m in ("a", "b")}
    heads = {direction: arrow(direction, sensors) for direction in chosen}
    if wrong_only:
        for direction, found in chosen.items():
            heads[direction] += f"   {len(found):,} of {len(rows):,} queries have a wrong item"
        chosen = {d: found if queries else found[:n_queries] for d, found in chosen.items()}
    how = "given" if queries else "drawn at random by a fixed seed"
    if wrong_only:
        how += f" among those with a wrong item in the top {k}"
    gallery = f"{len(cache.rows(protocol.gallery)):,} items ({' + '.join(protocol.gallery)})"
    said = [
        f"Top {k} of {gallery}; queries {how}.",
        f"Green ✓: {relevance_words(cache)}.  Red ✗: not.  Number: cosine.  {channel_words(cache)}",
    ]
    return sheet.save(_draw(cache, chosen, heads, title or cache.card.title, said, k), out)


def _given(cache: Cache, protocol: ProtocolCard, queries: Sequence[str]) -> np.ndarray:
    place = {str(cache.ids[row]): row for row in cache.rows(protocol.query)}
    if missing := [name for name in queries if name not in place]:
        raise UserError(
            f"no query named '{missing[0]}'", where=cache.path, fix="give ids of the query set"
        )
    return np.array([place[name] for name in queries])


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
    }[cache.card.labels.kind]


def channel_words(cache: Cache) -> str:
    """Which bands of each sensor are shown."""
    shown = [
        f"{card.name}: {', '.join(card.display)}{', ratio' * (len(card.display) == 2)}"
        for card in (cache.card.modality(m) for m in ("a", "b"))
    ]
    return f"Shown {'; '.join(shown)}."


def _draw(
    cache: Cache,
    chosen: Mapping[str, Sequence[Hits]],
    heads: Mapping[str, str],
    title: str,
    said: Sequence[str],
    k: int,
) -> Figure:
    lines = {d: [_line(cache, hit) for hit in found] for d, found in chosen.items()}
    hits = [hit for found in chosen.values() for hit in found]
    wanted = {(hit.direction[0], hit.query) for hit in hits}
    wanted |= {(hit.direction[1], int(row)) for hit in hits for row in hit.items}
    shown = thumbnails(cache, wanted)
    width = 2 * LEFT + (k + 1) * SIDE + k * GAP + 0.25
    said = [part for text in said for part in sheet.wrap(text, width - 2 * LEFT, size=8.5)]
    top = 0.62 + 0.17 * len(said)
    height = top + sum(
        0.42 + (sum(line.height for line in found) or 0.1) for found in lines.values()
    )
    figure = sheet.blank(width, height)
    sheet.write(figure, LEFT, 0.16, title, size=13, bold=True)
    for number, text in enumerate(said):
        sheet.write(figure, LEFT, 0.46 + 0.17 * number, text, size=8.5, color=sheet.FAINT)
    y = top
    for direction, found in lines.items():
        sheet.write(figure, LEFT, y, heads[direction], size=11, bold=True)
        y += 0.3
        for line in found:
            _draw_line(figure, line, shown, y)
            y += line.height
        y += 0.12 if found else 0.22
    return figure


def _line(cache: Cache, hit: Hits) -> Line:
    labels = label_names(cache, hit.query)
    query: Caption = [("query", sheet.INK, True)]
    query += [(text, sheet.INK, False) for text in sheet.label_lines(labels, ROOM, MOST)]
    items = []
    for row, score in zip(hit.items, hit.scores, strict=True):
        right, texts = judge(cache, hit.query, int(row))
        color = sheet.RIGHT if right else sheet.WRONG
        pair = " · own pair" if row == hit.query else ""
        caption: Caption = [(f"{'✓' if right else '✗'} {score:.2f}{pair}", color, True)]
        caption += [(text, sheet.INK if right else sheet.FAINT, False) for text in texts]
        items.append((color, caption))
    return Line(hit, query, items)


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


def _draw_line(
    figure: Figure, line: Line, shown: Mapping[tuple[str, int], np.ndarray], y: float
) -> None:
    hit = line.hit
    picture = shown[hit.direction[0], hit.query]
    sheet.thumbnail(figure, LEFT, y, SIDE, picture, sheet.PLAIN, line.query)
    for rank, (row, (frame, caption)) in enumerate(zip(hit.items, line.items, strict=True)):
        x = LEFT + 0.25 + (rank + 1) * (SIDE + GAP)
        sheet.thumbnail(figure, x, y, SIDE, shown[hit.direction[1], int(row)], frame, caption)


def judge(cache: Cache, query: int, item: int) -> tuple[bool, list[str]]:
    """Whether ``item`` is relevant to ``query`` (cache rows), and the caption that says why."""
    right = bool(relevant(cache, query, np.array([item]))[0])
    kind = cache.card.labels.kind
    if kind == "none":
        return right, sheet.wrap(str(cache.ids[item]), ROOM)
    mine, theirs = label_names(cache, query), label_names(cache, item)
    if kind == "single" or not right:
        return right, sheet.label_lines(theirs or ["no label"], ROOM, MOST)
    shared = [label for label in theirs if label in mine]
    head = f"shares {len(shared)} of {len(mine)}, has {len(theirs)}:"
    return right, [head, *sheet.label_lines(shared, ROOM, MOST - 1)]


def run_grid(
    run: Path,
    out: Path,
    *,
    record: Record | None = None,
    cache: Path | None = None,
    n_queries: int = 2,
    k: int = 5,
    queries: Sequence[str] | None = None,
    wrong_only: bool = False,
) -> Path:
    """The grid of an evaluated run folder, by its record, its embeddings and its cache."""
    opened = open_run(run, record=record, cache=cache)
    return retrieval_grid(
        opened.cache,
        opened.views,
        opened.serves,
        opened.protocol,
        out,
        title=opened.title,
        n_queries=n_queries,
        k=k,
        queries=queries,
        wrong_only=wrong_only,
    )
