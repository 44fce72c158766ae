"""What stands on the page: addresses of views, examples, marks, and texts of strangers as texts."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from asking import ask, hits, send, sentence

from crbench.archive.search import Search
from crbench.errors import UserError
from crbench.serve.page import Pages, PageState

EVIL = "\"><script>alert(1)</script>&'ü+ %00"


@pytest.fixture
def planted(plant_search: Callable[[], Search]) -> Search:
    return plant_search()


def examples(pages: Pages, number: int) -> list[str]:
    """The ids below the pictures of a page without an answer."""
    text = pages.page(PageState("ab", examples=number))
    return re.findall(r'<span class="id">(.*?)</span></a>', text)


def test_an_address_says_the_view_and_nothing_else() -> None:
    state = PageState("ab", query="x", top=50, examples=2)
    assert state.address(examples=0) == "/?direction=ab&query=x&top=50"
    assert PageState("aa").address() == "/?direction=aa&top=20"
    assert (state.query, state.examples) == ("x", 2)  # the view itself is as it was
    parts = urlsplit(state.address(query=EVIL))
    assert parse_qs(parts.query)["query"] == [EVIL] and not parts.fragment
    assert re.fullmatch(r"[\w=&+%]+", parts.query, flags=re.ASCII)


def test_examples_go_round_all_queries(planted: Search) -> None:
    pages = Pages(planted)
    turns = [examples(pages, number) for number in range(4)]
    queries = planted.cache.ids[planted.cache.rows(["test"])].tolist()
    assert [len(turn) for turn in turns] == [12] * 4
    assert sorted([*turns[0], *turns[1], *turns[2], *turns[3][:4]]) == sorted(queries)
    assert turns[3][4:] == turns[0][:8]  # 3 × 12 + 4 = 40
    assert examples(Pages(planted), 1) == turns[1] != turns[0]
    assert examples(pages, 10) == turns[0]  # 10 × 12 = 3 × 40
    assert "examples=4" in pages.page(PageState("ab", examples=3))


@pytest.mark.parametrize("n", [1, 11, 12, 13])
def test_few_queries_stand_there_once(planted: Search, n: int) -> None:
    pages = Pages(planted)
    pages.queries = pages.queries[:n]
    shown = examples(pages, 0)
    assert len(shown) == len(set(shown)) == min(n, 12)


def test_texts_of_strangers_are_texts(planted: Search) -> None:
    error = UserError(f"no {EVIL}", where=f"/some/where/{EVIL.replace('/', '')}", fix=EVIL)
    text = Pages(planted).page(PageState("ab", EVIL), error=error)
    assert "<script" not in text and "/some/where" not in text
    alert = sentence(text)
    assert alert.count("alert(1)") == 3 and f"No {EVIL}." in alert
    assert 'role="alert"' not in Pages(planted).page(PageState("ab", EVIL))
    card = planted.cache.card
    planted.queries.run.cache = cache = copy.copy(planted.cache)  # type: ignore[misc]
    sensor = card.a.model_copy(update={"name": EVIL, "units": EVIL})
    cache.card = card.model_copy(update={"a": sensor, "note": EVIL})
    cache.ids = np.array([f"{EVIL}{name}" for name in cache.ids])
    pages = Pages(planted)
    answer = planted.answer(np.ones(8, np.float32), "ba", 3, EVIL)
    for page in (pages.page(PageState("ab")), pages.page(PageState("ba"), answer)):
        assert "<script" not in page and "alert(1)" in page


def test_what_was_asked_for_is_chosen_in_the_form(planted: Search) -> None:
    pages = Pages(planted)
    for top, tops in ((1, [1, 10, 20, 50, 100]), (20, [10, 20, 50, 100]), (100, [10, 20, 50, 100])):
        text = pages.page(PageState("bb", "x", top))
        assert re.findall(r"<option(?: selected)?>(\d+)", text) == [str(n) for n in tops]
        assert re.findall(r"<option selected>(\d+)", text) == [str(top)]
        assert text.count('name="direction" value="bb"') == 2


def test_right_and_wrong_are_counted_where_they_are_known(planted: Search) -> None:
    pages, row = Pages(planted), int(planted.rows[0])
    answer = planted.answer(np.ones(8, np.float32), "ab", 7, "mine", row=row)
    items = [replace(hit, right=n < 2) for n, hit in enumerate(answer.items)]
    text = pages.page(PageState("ab"), replace(answer, items=items))
    assert "2 of 7 relevant" in text and "shares at least one label" in text
    assert [word for _, _, word in hits(text)] == ["right"] * 2 + ["wrong"] * 5
    assert "0 of 1 relevant" in pages.page(PageState("ab"), replace(answer, items=items[-1:]))
    text = pages.page(
        PageState("ab"), planted.answer(np.ones(8, np.float32), "ab", 7, "mine"), picture=b"\x00PNG"
    )
    assert "relevant" not in text and "shares at least" not in text
    assert "nothing is marked" in text and 'src="data:image/png;base64,AFBORw=="' in text
    assert "examples" not in text


def test_an_image_without_a_picture_says_so(planted: Search) -> None:
    answer = planted.answer(np.ones(8, np.float32), "ab", 1, "mine.npy")
    text = Pages(planted).page(PageState("ab"), answer)
    assert "no bands that could be shown" in text and "data:image" not in text


def test_a_neighbour_leads_on_where_the_run_serves_that(planted: Search) -> None:
    answer = planted.answer(np.ones(8, np.float32), "ab", 1, "mine")
    for serves, onward in ((planted.serves, "ba"), ({"ab": planted.serves["ab"]}, "ab")):
        planted.serves = serves
        text = Pages(planted).page(PageState("ab"), answer)
        (address,) = re.findall(r'<li class="hit ">\s*<a href="(.*?)"', text)
        assert f"direction={onward}&" in address


def test_a_refusal_keeps_the_direction(served: Any) -> None:
    current = re.compile(r'direction=(..)[^"]*" aria-current="true"')
    answer, page = send(served, "query.npy", b"x", "bb")
    assert answer.status == 400 and current.findall(page) == ["bb"]
    answer, data = ask(served, "/?direction=ba&query=ben-14k-twin-00")
    assert answer.status == 404 and current.findall(data.decode()) == ["ba"]
    assert 'value="ben-14k-twin-00"' in data.decode() and "did you mean" in data.decode()
