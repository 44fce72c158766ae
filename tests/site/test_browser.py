"""The site in a real browser: sorting, filtering, opening a row, by keyboard, on a phone, dark."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from crbench.records import Record
from crbench.site.site import write_site

ROOT = Path(__file__).resolve().parents[2]
SPEC = importlib.util.spec_from_file_location("shots", ROOT / "scripts" / "make_screenshots.py")
assert SPEC is not None and SPEC.loader is not None
shots = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(shots)
Make = Callable[..., Record]


@pytest.fixture
def site(make_record: Make, tmp_path: Path) -> Path:
    """Three methods of different order in different directions, on two datasets."""
    runs = []
    for seed in (0, 1):
        runs += [
            make_record("cr-jepa", 0.60 + seed / 100, seed=seed, values={"ab": 0.2}),
            make_record("x-jepa", 0.40, seed=seed, values={"ab": 0.5}),
            make_record("random", 0.15, seed=seed),
            make_record("cr-jepa", 0.30, seed=seed, dataset="dsrsid-twin", protocol="split"),
        ]
    evil = make_record("rejepa", 0.1).model_dump()
    evil["method"]["title"] = "<script>document.title = 'owned'</script>"
    write_site([*runs, Record.model_validate(evil)], tmp_path / "site")
    return tmp_path / "site"


@pytest.fixture
def page(chromium: Any, site: Path) -> Iterator[Any]:
    """The board, opened from disk on a desk; afterwards nothing may have been complained about."""
    shots.view(chromium, 1200, 900)
    chromium.get((site / "index.html").as_uri())
    yield chromium
    assert [line for line in chromium.get_log("browser") if line["level"] != "DEBUG"] == []
    script = "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    assert all(name.startswith(("file:", "data:")) for name in chromium.execute_script(script))


def all_of(page: Any, selector: str) -> list[Any]:
    return list(page.find_elements("css selector", selector))


def methods(page: Any) -> list[str]:
    """Names down the first table."""
    table = all_of(page, "table.board")[0]
    script = "return [...arguments[0].querySelectorAll('tbody th')].map((c) => c.firstChild)"
    script += ".map((node) => node.textContent.trim())"
    return list(page.execute_script(script, table))


def choose(page: Any, name: str, text: str) -> None:
    from selenium.webdriver.support.select import Select

    Select(page.find_element("name", name)).select_by_visible_text(text)


def shown_tables(page: Any) -> list[str]:
    return [head.text for head in all_of(page, ".table > h3") if head.is_displayed()]


def test_sorting_says_and_does(page: Any) -> None:
    evil = "<script>document.title = 'owned'</script>"
    assert methods(page) == ["CR-JEPA", "X-JEPA", evil, "Random encoder", "chance"]
    assert "owned" not in page.title
    head = all_of(page, "table.board th[data-d='ab']")[0]
    assert head.get_attribute("aria-sort") == "none"
    button = head.find_element("css selector", "button")
    button.click()
    assert head.get_attribute("aria-sort") == "descending"
    assert methods(page)[:3] == ["X-JEPA", "CR-JEPA", "Random encoder"]
    button.click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert methods(page)[-1] == "X-JEPA"
    first = all_of(page, "table.board thead button")[0]
    first.click()
    assert head.get_attribute("aria-sort") == "none"
    assert methods(page) == sorted(methods(page), key=str.lower)


def test_filters_of_dataset_metric_direction_and_source(page: Any) -> None:
    everything = shown_tables(page)
    assert "F1@5 (item), measured" in everything and "mAP, published" in everything
    choose(page, "dataset", "dsrsid-twin")
    assert shown_tables(page) == ["mAP, measured", "P@5, measured"]
    choose(page, "family", "P@5")
    assert shown_tables(page) == ["P@5, measured"]
    assert "family=P%405" in page.current_url
    choose(page, "dataset", "all")
    choose(page, "direction", "across sensors")
    table = next(t for t in all_of(page, "table.board") if t.is_displayed())
    heads = [head.text for head in table.find_elements("css selector", "thead th") if head.text]
    assert len([head for head in heads if "→" in head]) == 2
    choose(page, "family", "headline")
    choose(page, "source", "published, not measured here")
    assert all("published" in title for title in shown_tables(page))
    assert all_of(page, ".status")[0].text.split(" of ")[0] == str(
        len([row for row in all_of(page, "tbody tr") if row.is_displayed()])
    )
    all_of(page, "button[type=reset]")[0].click()
    page.execute_async_script("setTimeout(arguments[0], 50)")
    assert shown_tables(page) == everything and "#" not in page.current_url


def test_a_view_can_be_sent_as_an_address(page: Any, site: Path) -> None:
    page.get("about:blank")
    page.get((site / "index.html").as_uri() + "#dataset=dsrsid-twin&source=nonsense")
    assert shown_tables(page) == ["mAP, measured", "P@5, measured"]


def test_a_row_opens_its_record(page: Any) -> None:
    all_of(page, "table.board tbody a")[0].click()
    assert all_of(page, "h1")[0].text == "CR-JEPA"
    text = all_of(page, "main")[0].text
    for piece in ("crbench train cr-jepa ben-14k-twin --scale tiny --seed 0", "Protocol", "Seeds"):
        assert piece in text
    assert all_of(page, ".sd") and all_of(page, "dl.facts dd")
    assert all_of(page, "a[href$='.json']")[0].get_attribute("href").endswith("seed0.json")
    page.back()
    assert all_of(page, "h1")[0].text == "Leaderboard"


def test_the_keyboard_is_enough(page: Any) -> None:
    from selenium.webdriver import ActionChains, Keys

    def press(*keys: str) -> Any:
        ActionChains(page).send_keys(*keys).perform()
        return page.switch_to.active_element

    skip = press(Keys.TAB)
    assert skip.text == "Skip to the content" and skip.is_displayed()
    seen = [skip]
    while not (seen[-1].tag_name == "button" and "S1→S2" in seen[-1].text):
        seen.append(press(Keys.TAB))
        assert len(seen) < 25
    assert [e.get_attribute("name") for e in seen if e.tag_name == "select"] == [
        "dataset", "family", "direction", "source",
    ]  # fmt: skip
    outline = seen[-1].value_of_css_property("outline-style")
    assert outline == "solid"
    press(Keys.ENTER)
    assert methods(page)[0] == "X-JEPA"
    while seen[-1].tag_name != "a" or seen[-1].text != "X-JEPA":
        seen.append(press(Keys.TAB))
        assert len(seen) < 40
    press(Keys.ENTER)
    assert all_of(page, "h1")[0].text == "X-JEPA"


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_scrolls_tables_and_not_the_page(page: Any, site: Path, dark: bool) -> None:
    shots.view(page, 390, 844, dark=dark, phone=True)
    pages = [site / "index.html", site / "studies.html", *sorted((site / "rows").iterdir())]
    for path in pages:
        page.get(path.as_uri())
        for detail in all_of(page, "details"):
            page.execute_script("arguments[0].open = true", detail)
        wide = page.execute_script("return document.documentElement.scrollWidth")
        assert wide <= 390, path.name
    page.get(pages[0].as_uri())
    assert all_of(page, ".scroll")[0].get_attribute("tabindex") == "0"


def luminance(color: str) -> float:
    parts = [float(p) / 255 for p in color[color.index("(") + 1 : -1].split(",")[:3]]
    lines = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * lines[0] + 0.7152 * lines[1] + 0.0722 * lines[2]


@pytest.mark.parametrize("dark", [False, True])
def test_text_and_charts_can_be_read_in_both_schemes(page: Any, dark: bool) -> None:
    shots.view(page, 1200, 900, dark=dark)
    page.refresh()
    ground = luminance(all_of(page, "body")[0].value_of_css_property("background-color"))
    assert (ground < 0.05) == dark
    kinds = ["h1", "td", ".interval", ".about", "tbody a", ".floor th", ".mark", ".flag.unknown"]
    found = {kind: all_of(page, kind)[0].value_of_css_property("color") for kind in kinds}
    texts = all_of(page, "figure svg text")
    assert len(texts) > 20
    found |= {f"chart {t.text}": t.value_of_css_property("fill") for t in texts[:12]}
    for kind, color in found.items():
        light, low = sorted((luminance(color), ground), reverse=True)
        assert (light + 0.05) / (low + 0.05) >= 4.5, (kind, color)
