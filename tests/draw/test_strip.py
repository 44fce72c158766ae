"""The strip of an answer: every item once and in its place, framed and captioned as it is."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.offsetbox import OffsetImage, PaddedBox, TextArea

from crbench.archive.search import Answer, Hit, Search
from crbench.cards import load_dataset
from crbench.data.pair_labels import label_names
from crbench.draw import sheet, strip
from crbench.draw.strip import _as_used, answer_notes, answer_strip
from crbench.records import Record

LONG = "S2A_MSIL2A_$_$_<b>_20170613T101031_" * 2
OUT = Path("not written.png")


@pytest.fixture
def search(plant_search: Callable[[], Search]) -> Search:
    return plant_search()


def answer(search: Search, n: int, right: bool | None = None, row: int | None = 3) -> Answer:
    """The first ``n`` pairs of the cache as the items of one query, which is pair ``row``."""
    ids = search.cache.ids.tolist()
    items = [
        Hit(at + 1, ids[at], 1 - at / 1000, at, label_names(search.cache, at), right)
        for at in range(n)
    ]
    pixels = None if row is not None else np.asarray(search.cache.images("a")[0])
    labels = [] if row is None else label_names(search.cache, row)
    return Answer("ab", "mine.npy", items, row, labels, 1234, 0.1, 0.1, pixels)


def places(figure: Figure) -> list[tuple[int, int]]:
    """Column and row of each picture, the query's first: columns by their left edges."""
    renderer = figure.canvas.get_renderer()  # type: ignore[attr-defined]
    figure.draw_without_rendering()
    boxes = [image.get_window_extent(renderer) for image in figure.findobj(OffsetImage)]
    lefts, tops = (sorted({round(edge, 1) for edge in edges}) for edges in
                   ([box.x0 for box in boxes], [-box.y1 for box in boxes]))  # fmt: skip
    return [(lefts.index(round(b.x0, 1)), tops.index(round(-b.y1, 1))) for b in boxes]


def texts(figure: Figure) -> list[str]:
    return [area.get_text() for area in figure.findobj(TextArea)]


def frames(figure: Figure) -> list[str]:
    colors = {to_rgb(color): color for color in (sheet.RIGHT, sheet.WRONG, sheet.PLAIN)}
    return [colors[box.patch.get_facecolor()[:3]] for box in figure.findobj(PaddedBox)]


@pytest.mark.parametrize("n", [1, 6])
def test_five_items_stand_in_a_row_right_of_the_query(
    search: Search, drawn: list[Figure], all_inside: Callable[[Figure], None], n: int
) -> None:
    assert answer_strip(search, answer(search, n), OUT) == OUT
    items = [(1 + at % 5, at // 5) for at in range(n)]
    assert places(drawn[0]) == [(0, 0), *items]
    all_inside(drawn[0])


@pytest.mark.parametrize("n", [3, 4])
def test_no_more_than_the_most_are_shown(
    search: Search, drawn: list[Figure], monkeypatch: pytest.MonkeyPatch, n: int
) -> None:
    monkeypatch.setattr(strip, "_MOST_SHOWN", 3)
    answer_strip(search, answer(search, n), OUT)
    assert len(drawn[0].findobj(OffsetImage)) == 1 + 3
    notes = " ".join(texts(drawn[0]))
    assert ("The first 3 are shown." in notes) == (n > 3)
    assert f"Top {n} of 1,234 items (test), protocol leave-one-out" in notes


def test_frames_signs_and_the_own_pair(search: Search, drawn: list[Figure]) -> None:
    three = answer(search, 4)
    marked = zip(three.items, (True, False, None, True), strict=True)
    three = replace(three, items=[replace(hit, right=right) for hit, right in marked])
    answer_strip(search, three, OUT)
    wanted = [sheet.PLAIN, sheet.RIGHT, sheet.WRONG, sheet.PLAIN, sheet.RIGHT]
    assert frames(drawn[0]) == wanted
    heads = [text for text in texts(drawn[0]) if text[:1].isdigit()]
    assert heads == ["1  ✓ 1.000", "2  ✗ 0.999", "3   0.998", "4  ✓ 0.997 · own pair"]
    for index, hit in enumerate(three.items):
        assert texts(drawn[0]).count(hit.id) == 1, index
    shares = len({*three.query_labels})
    assert f"shares {shares} of {shares}, has {shares}:" in texts(drawn[0])  # the pair itself


def test_an_image_of_ones_own_is_the_query_and_items_bear_their_labels(
    search: Search, drawn: list[Figure]
) -> None:
    own = answer(search, 2, row=None)
    answer_strip(search, own, OUT)
    answer_strip(search, answer(search, 2, row=0), OUT)
    images = [[np.asarray(i.get_data()) for i in f.findobj(OffsetImage)] for f in drawn]
    np.testing.assert_allclose(images[0][0], images[1][0], atol=1e-6)  # as the pair it was
    words = texts(drawn[0])
    assert not [word for word in words if "shares" in word or "✓" in word or "own pair" in word]
    assert label_names(search.cache, 0)[0] in " ".join(words)


def test_without_labels_an_item_bears_its_name_alone(search: Search, drawn: list[Figure]) -> None:
    cache = copy.copy(search.cache)
    labels = cache.card.labels.model_copy(update={"kind": "none", "classes": []})
    cache.card, cache.labels = cache.card.model_copy(update={"labels": labels}), None
    search.queries.run.cache = cache  # type: ignore[misc]
    answer_strip(search, answer(search, 4, right=False), OUT)
    words = texts(drawn[0])
    start = words.index("1  ✗ 1.000")
    ids = cache.ids.tolist()
    assert words[start + 1 : start + 3] == [ids[0], "2  ✗ 0.999"]
    assert "✓: is the query's own pair. ✗: not." in " ".join(words)


def test_long_names_take_two_lines_and_stay_text(
    search: Search, drawn: list[Figure], all_inside: Callable[[Figure], None]
) -> None:
    long = answer(search, 2)
    long = replace(long, query=LONG, items=[replace(hit, id=LONG) for hit in long.items])
    answer_strip(search, long, OUT)
    parts = [text for text in texts(drawn[0]) if "S2A" in text or text.endswith("…")]
    assert len(parts) == 6 and sum(text.endswith("…") for text in parts) == 3
    assert all("".join(parts[at : at + 2])[:-1] in LONG for at in (0, 2, 4))
    all_inside(drawn[0])


def test_notes_say_what_is_known(search: Search, make_record: Callable[..., Record]) -> None:
    unknown = answer_notes(search, answer(search, 1))
    assert len(unknown) == 2 and "no record" in unknown[1]
    search.record = make_record()
    assert answer_notes(search, answer(search, 1)) == unknown[:1]
    assert unknown[0].startswith("Top 1 of 1,234 items (test)")
    marks = answer_notes(search, answer(search, 1, right=False))[1:]
    assert marks == ["✓: shares at least one label with the query.  ✗: not."]


def test_bands_in_use_are_drawn_in_grey_where_not_all_that_are_shown_are_among_them() -> None:
    card = load_dataset("ben-14k-twin").with_bands(["b=B08,B02"]).b
    assert (_as_used(card).bands, _as_used(card).display) == (["B08", "B02"], ["B08"])
    card = load_dataset("ben-14k-twin").with_bands(["b=B02,B03,B04"]).b
    assert _as_used(card).display == ["B04", "B03", "B02"]
