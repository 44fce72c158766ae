"""The answer of a search as a picture: the query and a strip of its nearest items."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from crbench.cards import ModalityCard
from crbench.draw import sheet
from crbench.draw.grids import (
    GAP,
    LEFT,
    MOST,
    ROOM,
    SIDE,
    Caption,
    channel_words,
    judge,
    relevance_words,
    thumbnails,
)
from crbench.draw.render import pictures
from crbench.words import arrow

if TYPE_CHECKING:
    from crbench.archive.archive import Answer, Hit, Search

ACROSS = 5  # items in a row of the strip
SHOWN = 100  # items in a strip at most
SIGNS = {True: "✓", False: "✗", None: ""}
FRAMES = {True: sheet.RIGHT, False: sheet.WRONG, None: sheet.PLAIN}


def answer_notes(search: Search, answer: Answer) -> list[str]:
    """What a reader must know: gallery and protocol, what is right, and whose embeddings."""
    gallery = " + ".join(search.protocol.gallery)
    said = [
        f"Top {len(answer.items)} of {answer.ranked:,} items ({gallery}), protocol "
        f"{search.protocol_name}; score: cosine."
    ]
    if any(hit.right is not None for hit in answer.items):
        said.append(f"✓: {relevance_words(search.cache)}.  ✗: not.")
    if search.record is None:
        said.append("This run has no record of these embeddings: evaluate it for its scores.")
    return said


def answer_strip(search: Search, answer: Answer, out: Path) -> Path:
    """Write a PNG (or PDF) of the query and its items in rows of five, framed green where right,
    red where wrong and grey where that is not known; at most 100 are shown."""
    cache, mine, theirs = search.cache, answer.direction[0], answer.direction[1]
    hits = answer.items[:SHOWN]
    wanted = {(theirs, hit.row) for hit in hits}
    if answer.query_row is not None:
        wanted.add((mine, answer.query_row))
    shown = thumbnails(cache, wanted)
    if answer.pixels is not None:
        card = _as_used(cache.card.modality(mine))
        query = pictures(answer.pixels[None], card)[0]
    else:
        query = shown[mine, answer.query_row or 0]
    rows = [hits[start : start + ACROSS] for start in range(0, len(hits), ACROSS)]
    captions = [[_caption(search, answer, hit) for hit in row] for row in rows]
    asked: Caption = [("query", sheet.INK, True)]
    asked += [(text, sheet.FAINT, False) for text in sheet.wrap(answer.query, ROOM, lines=2)]
    labels = sheet.label_lines(answer.query_labels, ROOM, MOST)
    asked += [(text, sheet.INK, False) for text in labels]
    heights = [_height(row + [asked] * (n == 0)) for n, row in enumerate(captions)]
    width = 2 * LEFT + (ACROSS + 1) * SIDE + ACROSS * GAP + 0.25
    sensors = {m: cache.card.modality(m).name for m in ("a", "b")}
    said = [*answer_notes(search, answer), channel_words(cache)]
    if len(answer.items) > SHOWN:
        said.append(f"The first {SHOWN} are shown.")
    said = sheet.wrap(" ".join(said), width - 2 * LEFT, size=8.5)
    top = 0.62 + 0.17 * len(said) + 0.1
    figure = sheet.blank(width, top + sum(heights))
    title = f"{search.title}   {arrow(answer.direction, sensors)}"
    sheet.write(figure, LEFT, 0.16, title, size=13, bold=True)
    for number, text in enumerate(said):
        sheet.write(figure, LEFT, 0.46 + 0.17 * number, text, size=8.5, color=sheet.FAINT)
    sheet.thumbnail(figure, LEFT, top, SIDE, query, sheet.PLAIN, asked)
    y = top
    for row, texts, height in zip(rows, captions, heights, strict=True):
        for place, (hit, caption) in enumerate(zip(row, texts, strict=True)):
            x = LEFT + 0.25 + (place + 1) * (SIDE + GAP)
            sheet.thumbnail(figure, x, y, SIDE, shown[theirs, hit.row], FRAMES[hit.right], caption)
        y += height
    return sheet.save(figure, out)


def _caption(search: Search, answer: Answer, hit: Hit) -> Caption:
    color = FRAMES[hit.right]
    pair = " · own pair" if hit.row == answer.query_row else ""
    caption: Caption = [(f"{hit.rank}  {SIGNS[hit.right]} {hit.score:.3f}{pair}", color, True)]
    caption += [(text, sheet.FAINT, False) for text in sheet.wrap(hit.id, ROOM, lines=2)]
    if hit.right is None or answer.query_row is None:
        texts = sheet.label_lines(hit.labels, ROOM, MOST)
    elif search.cache.card.labels.kind == "none":
        texts = []
    else:
        texts = judge(search.cache, answer.query_row, hit.row)[1]
    return caption + [(text, sheet.INK if hit.right else sheet.FAINT, False) for text in texts]


def _height(captions: list[Caption]) -> float:
    """Inches of a row of thumbnails with these captions."""
    return SIDE + 0.1 + sheet.LINE * max(len(caption) for caption in captions) + 0.2


def _as_used(card: ModalityCard) -> ModalityCard:
    """The card of an image of the bands in use alone; grey where a shown band is not in use."""
    whole = all(band in card.used for band in card.display)
    display = card.display if whole else card.used[:1]
    return card.model_copy(update={"bands": card.used, "use": None, "display": display})
