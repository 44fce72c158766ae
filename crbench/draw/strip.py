"""The answer of a search as a picture: the query and a strip of its nearest items."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from crbench.cards import ModalityCard
from crbench.draw import sheet
from crbench.draw.grids import (
    channel_words,
    explain_hit,
    query_thumbnail,
    relevance_words,
    thumbnails,
)
from crbench.draw.render import pictures
from crbench.words import arrow

if TYPE_CHECKING:
    from crbench.archive.archive import Answer, Hit, Search

_ACROSS = 5  # items in a row of the strip
_MOST_SHOWN = 100  # items in a strip at most
HIT_SIGNS = {True: "✓", False: "✗", None: ""}
_FRAMES = {True: sheet.RIGHT, False: sheet.WRONG, None: sheet.PLAIN}


def answer_notes(search: Search, answer: Answer) -> list[str]:
    """What a reader must know: gallery and protocol, what is right, and whose embeddings."""
    gallery = " + ".join(search.protocol.gallery)
    notes = [
        f"Top {len(answer.items)} of {answer.ranked:,} items ({gallery}), protocol "
        f"{search.protocol_name}; score: cosine."
    ]
    if any(hit.right is not None for hit in answer.items):
        notes.append(f"✓: {relevance_words(search.cache)}.  ✗: not.")
    if search.record is None:
        notes.append("This run has no record of these embeddings: evaluate it for its scores.")
    return notes


def answer_strip(search: Search, answer: Answer, out: Path) -> Path:
    """Write a PNG (or PDF) of the query and its items in rows of five, framed green where right,
    red where wrong and grey where that is not known; at most 100 are shown."""
    cache, mine, theirs = search.cache, answer.direction[0], answer.direction[1]
    hits = answer.items[:_MOST_SHOWN]
    wanted = {(theirs, hit.row) for hit in hits}
    if answer.query_row is not None:
        wanted.add((mine, answer.query_row))
    shown = thumbnails(cache, wanted)
    if answer.pixels is not None:
        query = pictures(answer.pixels[None], _as_used(cache.card.modality(mine)))[0]
    else:
        query = shown[mine, answer.query_row or 0]
    items = [
        sheet.Thumbnail([shown[theirs, hit.row]], _caption(search, answer, hit), _FRAMES[hit.right])
        for hit in hits
    ]
    name = sheet.wrap(answer.query, sheet.CAPTION, lines=2)
    labels = sheet.label_lines(answer.query_labels, sheet.CAPTION, sheet.CAPTION_LINES)
    first = query_thumbnail(query, [(text, sheet.FAINT) for text in name], labels)
    gap = sheet.Thumbnail(room=first.room)
    rows = [
        [gap if start else first, *items[start : start + _ACROSS]]
        for start in range(0, len(items), _ACROSS)
    ]
    sensors = {m: cache.card.modality(m).name for m in ("a", "b")}
    notes = [*answer_notes(search, answer), channel_words(cache)]
    if len(answer.items) > _MOST_SHOWN:
        notes.append(f"The first {_MOST_SHOWN} are shown.")
    title = f"{search.title} · {arrow(answer.direction, sensors)}"
    return sheet.save(sheet.thumbnail_sheet(title, [" ".join(notes)], [("", rows)]), out)


def _caption(search: Search, answer: Answer, hit: Hit) -> sheet.Caption:
    pair = " · own pair" if hit.row == answer.query_row else ""
    head = f"{hit.rank}  {HIT_SIGNS[hit.right]} {hit.score:.3f}{pair}"
    caption = [(head, _FRAMES[hit.right], True)]
    caption += [(text, sheet.FAINT, False) for text in sheet.wrap(hit.id, sheet.CAPTION, lines=2)]
    if hit.right is None or answer.query_row is None:
        texts = sheet.label_lines(hit.labels, sheet.CAPTION, sheet.CAPTION_LINES)
    elif search.cache.card.labels.kind == "none":
        texts = []
    else:
        texts = explain_hit(search.cache, answer.query_row, hit.row)[1]
    return caption + [(text, sheet.INK if hit.right else sheet.FAINT, False) for text in texts]


def _as_used(card: ModalityCard) -> ModalityCard:
    """The card of an image of the bands in use alone; grey where a shown band is not in use."""
    whole = all(band in card.used for band in card.display)
    display = card.display if whole else card.used[:1]
    return card.model_copy(update={"bands": card.used, "use": None, "display": display})
