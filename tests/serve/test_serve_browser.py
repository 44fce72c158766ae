"""The page in a real browser: pick, upload, read the neighbours; by keyboard, on a phone, dark."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crbench.archive.search import Answer, Search

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("shots", ROOT / "scripts" / "make_screenshots.py")
assert SPEC is not None and SPEC.loader is not None
shots = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(shots)


@pytest.fixture
def page(chromium: Any, served: Any) -> Iterator[Any]:
    """The first page on a desk; afterwards nothing may have been complained about, and nothing
    fetched from elsewhere."""
    shots.view(chromium, 1200, 900)
    chromium.get("about:blank")
    chromium.get_log("browser")
    chromium.get(served.url)
    yield chromium
    assert [line for line in chromium.get_log("browser") if line["level"] != "DEBUG"] == []
    script = "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    assert all(n.startswith((served.url, "data:")) for n in chromium.execute_script(script))


def all_of(page: Any, selector: str) -> list[Any]:
    return list(page.find_elements("css selector", selector))


def shown(page: Any) -> list[tuple[str, str]]:
    """(id, cosine) of every neighbour on the page."""
    return [
        (
            hit.find_element("css selector", ".id").text,
            hit.find_element("css selector", ".cosine").text,
        )
        for hit in all_of(page, "ol.hits > li")
    ]


def same(page: Any, answer: Answer) -> None:
    wait(lambda: all_of(page, "ol.hits"))
    assert shown(page) == [(hit.id, f"{hit.score:.3f}") for hit in answer.items]
    script = "return [...document.images].every((image) => image.complete && image.naturalWidth)"
    for image in all_of(page, "img"):  # those below are fetched when they come into view
        page.execute_script("arguments[0].loading = 'eager'", image)
    wait(lambda: page.execute_script(script))


def wait(ready: Callable[[], object]) -> None:
    end = time.monotonic() + 20
    while not ready():
        assert time.monotonic() < end
        time.sleep(0.05)


def own_image(search: Search, folder: Path, modality: str = "a") -> Path:
    path = folder / "mine.npy"
    np.save(path, search.cache.images(modality)[int(search.rows[7])])
    return path


def test_an_example_opens_its_neighbours(page: Any, search: Search) -> None:
    first = all_of(page, "ul.hits a")[0]
    name = first.find_element("css selector", ".id").text
    other = [e.text for e in all_of(page, "ul.hits .id")]
    page.find_element("link text", "Other examples").click()
    assert not set(other) & {e.text for e in all_of(page, "ul.hits .id")}
    page.back()
    all_of(page, "ul.hits a")[0].click()
    same(page, search.by_id(name, "ab", 20))
    assert f"query={name}" in page.current_url
    right = [hit.right for hit in search.by_id(name, "ab", 20).items]
    marks = [e.get_attribute("aria-label") for e in all_of(page, ".sign")]
    assert marks == ["right" if r else "wrong" for r in right] and set(marks) == {"right", "wrong"}
    neighbour = shown(page)[2][0]
    all_of(page, "ol.hits a")[2].click()
    same(page, search.by_id(neighbour, "ba", 20))
    page.find_element("link text", "S2→S2").click()
    same(page, search.by_id(neighbour, "bb", 20))


def test_an_upload_shows_its_neighbours(page: Any, search: Search, tmp_path: Path) -> None:
    page.find_element("link text", "S2→S1").click()
    path = own_image(search, tmp_path, "b")
    page.find_element("name", "image").send_keys(str(path))
    all_of(page, "form button")[1].click()
    same(page, search.by_image(np.load(path), "ba", 20))
    assert all_of(page, ".query .id")[0].text == "mine.npy"
    assert all_of(page, ".query img")[0].get_attribute("src").startswith("data:image/png")


@pytest.mark.parametrize("kind", ["text", "2 GB"])
def test_a_file_that_is_no_query_gets_a_sentence(page: Any, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "query.tif"
    with path.open("wb") as file:
        file.write(b"text")
        if kind == "2 GB":
            file.truncate(2 * 2**30)
    page.find_element("name", "image").send_keys(str(path))
    all_of(page, "form button")[1].click()
    wait(lambda: all_of(page, ".error"))
    said = {"text": "Not a readable image (its content is no TIFF).", "2 GB": "larger than 64 MiB"}
    assert said[kind] in all_of(page, ".error")[0].text
    assert all_of(page, "input[type=file]")  # the form is there to try again
    for line in page.get_log("browser"):  # the status is all that the browser logs
        assert "status of 4" in line["message"]


def test_the_keyboard_is_enough(page: Any, search: Search, tmp_path: Path) -> None:
    from selenium.webdriver import ActionChains, Keys

    def press(*keys: str) -> Any:
        ActionChains(page).send_keys(*keys).perform()
        return page.switch_to.active_element

    def until(name: str, value: str, most: int = 20) -> Any:
        for _ in range(most):
            element = press(Keys.TAB)
            assert element.value_of_css_property("outline-style") != "none"
            if value in (element.get_attribute(name) or ""):
                return element
        raise AssertionError(f"no {name}={value} within {most} stops")

    assert press(Keys.TAB).text == "Skip to the content"
    until("href", "direction=bb")
    press(Keys.ENTER)
    until("name", "query")
    name = str(search.cache.ids[search.rows[0]])
    press(name, Keys.ENTER)
    same(page, search.by_id(name, "bb", 20))
    until("id", "image").send_keys(str(own_image(search, tmp_path, "b")))
    until("textContent", "Search with this image")
    press(Keys.ENTER)
    wait(lambda: [e.text for e in all_of(page, ".query .id")] == ["mine.npy"])
    same(page, search.by_image(np.load(tmp_path / "mine.npy"), "bb", 20))
    until("href", f"query={shown(page)[0][0]}", most=40)
    press(Keys.ENTER)
    wait(lambda: "query=" in page.current_url)
    assert all_of(page, "input[name=query]")[0].get_attribute("value") in page.current_url


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_never_scrolls_sideways(page: Any, served: Any, search: Search, dark: bool) -> None:
    name = search.cache.ids[search.rows[0]]
    shots.view(page, 390, 844, dark=dark, phone=True)
    for path in ("", f"?query={name}", f"?query={name}&direction=bb&top=50"):
        page.get(served.url + path)
        assert page.execute_script("return document.documentElement.scrollWidth") <= 390, path
    page.get(f"{served.url}?query={'x' * 300}")
    assert page.execute_script("return document.documentElement.scrollWidth") <= 390
    assert all("status of 404" in line["message"] for line in page.get_log("browser"))


def luminance(color: str) -> float:
    parts = [float(p) / 255 for p in color[color.index("(") + 1 : -1].split(",")[:3]]
    lines = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * lines[0] + 0.7152 * lines[1] + 0.0722 * lines[2]


@pytest.mark.parametrize("dark", [False, True])
def test_everything_can_be_read_in_both_schemes(
    page: Any, served: Any, search: Search, dark: bool
) -> None:
    shots.view(page, 1200, 900, dark=dark)
    page.get(f"{served.url}?query={search.cache.ids[search.rows[0]]}")
    ground = luminance(all_of(page, "body")[0].value_of_css_property("background-color"))
    assert (ground < 0.05) == dark
    kinds = ["h1", ".about", ".tabs a", "label", "input", "button", ".hit .id", ".cosine", ".rank",
             ".right .sign", ".wrong .sign", ".labels li", ".shared", ".notes"]  # fmt: skip
    for kind in kinds:
        color = all_of(page, kind)[0].value_of_css_property("color")
        light, low = sorted((luminance(color), ground), reverse=True)
        assert (light + 0.05) / (low + 0.05) >= 4.5, (kind, color)


def test_every_input_and_picture_has_a_name(page: Any, served: Any, search: Search) -> None:
    page.get(f"{served.url}?query={search.cache.ids[search.rows[0]]}")
    assert all(image.get_attribute("alt") for image in all_of(page, "img"))
    script = "return [...document.querySelectorAll('input:not([type=hidden]), select')]"
    assert page.execute_script(script + ".every((e) => e.labels.length === 1)")
