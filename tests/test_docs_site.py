"""The built documentation: no warning, every link leads somewhere, nothing is fetched."""

from __future__ import annotations

import functools
import http.server
import importlib.util
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parents[1]
SPEC = importlib.util.spec_from_file_location("shots", ROOT / "scripts" / "make_screenshots.py")
assert SPEC is not None and SPEC.loader is not None
shots = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(shots)
NEEDED = ("mkdocs", "material", "mkdocstrings", "l2m4m", "ziamath")
# what a browser fetches by itself when it opens a page
FETCHED = {
    "link": "href", "script": "src", "img": "src", "iframe": "src", "source": "src",
    "object": "data", "embed": "src", "video": "src", "audio": "src", "use": "href",
}  # fmt: skip


class Page(HTMLParser):
    """What a page fetches, where it links to, the ids it has, and its text outside code."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.tags: set[str] = set()
        self.text: list[str] = []
        self._code = 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {key: value or "" for key, value in attrs}
        self.tags.add(tag)
        self._code += tag in ("code", "pre", "script", "style")
        self.ids |= {given[key] for key in ("id", "name") if key in given}
        if tag in FETCHED and given.get(FETCHED[tag]):
            self.fetched.append(given[FETCHED[tag]])
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])

    def handle_endtag(self, tag: str) -> None:
        self._code -= tag in ("code", "pre", "script", "style")

    def handle_data(self, data: str) -> None:
        if not self._code:
            self.text.append(data)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built once as ``make docs`` does."""
    missing = [module for module in NEEDED if importlib.util.find_spec(module) is None]
    if missing:
        message = f"not installed: {', '.join(missing)}; pip install 'crbench[docs]'"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    out = tmp_path_factory.mktemp("docs") / "site"
    words = ["mkdocs", "build", "--strict", "--site-dir", str(out)]
    env = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", *words]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert done.returncode == 0 and "WARNING" not in said, said
    return out


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {path: Page(path) for path in sorted(site.rglob("*.html")) if path.name != "404.html"}


def test_it_has_every_page(site: Path, pages: dict[Path, Page]) -> None:
    for path in (ROOT / "docs").rglob("*.md"):
        assert site / path.relative_to(ROOT / "docs").with_suffix(".html") in pages
    board = (site / "repository" / "results" / "leaderboard.html").read_text(encoding="utf-8")
    assert "BEN-14K twin (synthetic)" in board  # from outside docs/, not copied into it


def test_nothing_is_fetched_from_elsewhere(site: Path, pages: dict[Path, Page]) -> None:
    for path, page in pages.items():
        for target in page.fetched:
            assert not urlsplit(target).netloc and not urlsplit(target).scheme, f"{path}: {target}"
    styles = sorted(site.rglob("*.css"))
    assert len(styles) >= 3
    for style in styles:
        text = style.read_text(encoding="utf-8")
        for target in re.findall(r"url\(\s*['\"]?([^'\")]+)|@import\s+['\"]([^'\"]+)", text):
            link = "".join(target)
            assert link.startswith("data:") or not urlsplit(link).netloc, f"{style}: {link}"


def test_every_link_leads_somewhere(site: Path, pages: dict[Path, Page]) -> None:
    """Also those that MkDocs does not see: in snippets, in HTML, from docstrings."""
    followed = 0
    for path, page in pages.items():
        for link in (*page.links, *page.fetched):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            assert target.is_file(), f"{path.relative_to(site)}: {link}"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].ids | {"__skip"}, f"{path}: {link}"
            followed += 1
    assert followed > 1000


def test_formulas_are_mathml_and_no_markup_is_left(site: Path, pages: dict[Path, Page]) -> None:
    for method in ("cr-jepa", "x-jepa", "rejepa", "losses"):
        assert "math" in pages[site / "methods" / f"{method}.html"].tags
    for path, page in pages.items():
        text = "".join(page.text)
        for raw in ("$$", "\\frac", "\\mathrm", "\\hat", "\\sum", "--8<--", "](", ":func:"):
            assert raw not in text, f"{path.relative_to(site)}: {raw}"
        assert str(ROOT) not in path.read_text(encoding="utf-8"), "a path of this machine"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    handler = functools.partial(Quiet, directory=str(site))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def browser(chromium: Any) -> Any:
    """The browser of all tests, on an empty page, with nothing logged."""
    shots.view(chromium, 1280, 900)
    chromium.get("about:blank")
    chromium.get_log("browser")
    return chromium


SHOWN = (
    "index",
    "methods/cr-jepa",
    "methods/losses",
    "api/index",
    "repository/results/leaderboard",
)


@pytest.mark.parametrize("way", ["from disk", "served"])
def test_in_a_browser(way: str, site: Path, address: str, browser: Any) -> None:
    """On a desk and on a phone, light and dark: nothing is asked of others, nothing too wide."""
    base = address if way == "served" else site.as_uri()
    asked = "return performance.getEntriesByType('resource').map((entry) => entry.name)"
    background = "return getComputedStyle(document.body).backgroundColor"
    seen = set()
    for width, dark in ((1280, False), (390, True)):
        shots.view(browser, width, 900, dark=dark, phone=width < 500)
        for page in SHOWN:
            browser.get(f"{base}/{page}.html")
            assert browser.execute_script("return document.documentElement.scrollWidth") == width
            names = browser.execute_script(asked)
            assert names or way == "from disk"  # of files a browser keeps no account
            assert all(name.startswith((base, "data:", "blob:")) for name in names), names
            seen.add((browser.execute_script(background), dark))
        logged = [line for line in browser.get_log("browser") if line["level"] != "DEBUG"]
        assert not logged
    assert len(seen) == len(dict(seen)) == 2, "one colour by day, one by night"


def test_formulas_have_their_font(site: Path, browser: Any) -> None:
    browser.get((site / "methods" / "losses.html").as_uri())
    status = "[...document.fonts].map((font) => [font.family, font.status].join())"
    fonts = browser.execute_script(f"return document.fonts.ready.then(() => {status})")
    assert [font.replace('"', "") for font in fonts] == ["Formulas,loaded"]
    heights = (
        "return [...document.querySelectorAll('math')].map((m) => m.getClientRects()[0].height)"
    )
    tall = browser.execute_script(heights)
    assert len(tall) > 20 and min(tall) > 5 and max(tall) > 35


def test_search_finds_a_page_where_the_site_is_served(address: str, browser: Any) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    shots.view(browser, 1280, 900)
    browser.get(f"{address}/index.html")
    field = browser.find_element("css selector", "input.md-search__input")
    field.click()
    field.send_keys("SIGReg")
    found = WebDriverWait(browser, 20).until(
        lambda page: page.find_elements("css selector", "a.md-search-result__link")
    )
    assert any("losses.html" in link.get_attribute("href") for link in found)
