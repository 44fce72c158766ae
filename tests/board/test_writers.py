"""The leaderboard's files: significance by hand, LaTeX and HTML that no name can break."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from crbench.board.board_data import board_csv
from crbench.board.markup import latex_text
from crbench.board.published import published_tables
from crbench.board.rows import boards
from crbench.board.writers import board_latex, board_markdown, board_page, write_boards
from crbench.records import Record

F1 = "f1_item@5"
Make = Callable[..., Record]
EVIL = '<script>alert("x")</script> & | \\input{x} $a_b^c% # ~ {'


def seeds(make: Make, method: str, values: list[float], **changes: object) -> list[Record]:
    return [make(method, value, seed=seed, **changes) for seed, value in enumerate(values)]


def test_not_worse_is_student_s_t_of_the_paired_differences(make_record: Make) -> None:
    """By hand: differences −0.01, −0.02, −0.03 have mean −0.02, sd 0.01, and t(0.975, 2) = 4.3027,
    so the half-width is 0.02484: the interval reaches zero. A tenth of the sd does not."""
    half = 4.30265 * 0.01 / math.sqrt(3)
    assert half == pytest.approx(0.02484, abs=1e-5)
    top = seeds(make_record, "cr-jepa", [0.60, 0.50, 0.40])
    near = seeds(make_record, "x-jepa", [0.59, 0.48, 0.37])
    far = seeds(make_record, "rejepa", [0.581, 0.48, 0.379])  # −0.019, −0.02, −0.021
    (board,) = boards([*top, *near, *far])
    assert ("CR-JEPA", "ab", F1) in board.best
    assert ("X-JEPA", "ab", F1) in board.not_worse
    assert ("REJEPA", "ab", F1) not in board.not_worse
    assert not board.best & board.not_worse
    line = next(
        text for text in board_markdown([board]).splitlines() if text.startswith("| X-JEPA")
    )
    assert "48.0 ± 11.0≈" in line and "**" not in line
    assert "Student's t" in board_markdown([board]) and "$^{\\approx}$" in board_latex([board])


def test_pairing_is_by_seed_and_needs_two(make_record: Make) -> None:
    """The spread over seeds is large and the difference in each is the same: pairing sees it."""
    top = seeds(make_record, "cr-jepa", [0.9, 0.5, 0.1])
    worse = seeds(make_record, "x-jepa", [0.899, 0.499, 0.099])
    single = [make_record("cca", 0.4999)]
    other = [make_record("rejepa", 0.4999, seed=s) for s in (7, 8)]  # no seed in common
    (board,) = boards([*top, *worse, *single, *other])
    assert {label for label, d, m in board.best if (d, m) == ("ab", F1)} == {"CR-JEPA"}
    assert not board.not_worse


def test_only_sound_rows_are_tested(make_record: Make) -> None:
    top = seeds(make_record, "cr-jepa", [0.60, 0.50, 0.40])
    dead = seeds(make_record, "x-jepa", [0.59, 0.48, 0.41], collapsed=True)
    (board,) = boards([*top, *dead])
    assert not board.not_worse
    (board,) = boards([*top, *seeds(make_record, "x-jepa", [0.59, 0.48, 0.41])])
    assert ("X-JEPA", "ab", F1) in board.not_worse
    lines = csv.DictReader(io.StringIO(board_csv([board])))
    marked = {line["method"] for line in lines if line["not_worse"] == "1"}
    assert marked == {"X-JEPA"}


def evil(make_record: Make) -> Record:
    run = make_record().model_dump()
    run["method"]["title"] = EVIL
    run["dataset"]["title"] = EVIL
    run["modalities"]["a"]["name"] = "<b>S1</b>"
    return Record.model_validate(run)


def test_names_in_records_cannot_break_a_page(make_record: Make) -> None:
    found = boards([evil(make_record)])
    html = board_page(found, published_tables())
    assert "<script>alert" not in html and "&lt;script&gt;alert" in html
    assert "<b>S1</b>" not in html
    text = board_markdown(found)
    assert "<script>" not in text and "<b>" not in text
    row = next(line for line in text.splitlines() if line.startswith("| &lt;script"))
    assert row.count("|") == 11  # ten cells


def test_latex_is_escaped_and_balanced(make_record: Make) -> None:
    assert latex_text("a_b & 5% #1 {x} $ ~ ^ \\") == (
        r"a\_b \& 5\% \#1 \{x\} \$ \textasciitilde{} \textasciicircum{} \textbackslash{}"
    )
    collapsed = make_record("rejepa", collapsed=True, reason="feature_std 0.0001 & less")
    text = board_latex(
        boards([evil(make_record), make_record("random"), collapsed]), published_tables()
    )
    assert r"\input" not in text and r"\toprule" in text and "feature\\_std" in text
    for kind in ("table*", "tabular", "minipage", "itemize"):
        begun = text.count(rf"\begin{{{kind}}}")
        assert begun and begun == text.count(rf"\end{{{kind}}}")
    bare = re.sub(r"\\[{}]", "", text.replace(r"\\", " "))
    assert bare.count("{") == bare.count("}")
    assert not re.findall(r"(?<!\\)[#]", text)
    labels = re.findall(r"\\label\{([^}]*)\}", text)
    assert len(labels) == len(set(labels)) and all(re.fullmatch(r"[a-z0-9:-]+", x) for x in labels)
    assert set(re.findall(r"\\ref\{([^}]*)\}", text)) <= set(labels)
    for table in text.split(r"\begin{tabular}")[1:]:
        columns = re.match(r"\{([lr]+)\}", table).group(1)  # type: ignore[union-attr]
        body = table.split(r"\midrule", 1)[1].split(r"\bottomrule")[0]
        for line in filter(None, body.replace("\\midrule\n", "").strip().split("\n")):
            assert len(re.findall(r"(?<!\\)&", line)) == len(columns) - 1, line


class Page(HTMLParser):
    """What a page loads, its headings, and whether its tags close."""

    VOID = ("meta", "link", "br", "img", "input")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.flags: list[str] = []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag not in self.VOID:
            self.open.append(tag)
        if tag in ("script", "img") and given.get("src"):
            self.loads.append(str(given["src"]))
        if tag == "link":
            self.loads.append(str(given["href"]))
        if (given.get("class") or "").startswith("flag "):
            self.flags.append(str(given["class"]))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, tag


def test_the_page_of_the_board_stands_alone(make_record: Make, tmp_path: Path) -> None:
    found = boards([make_record(), make_record("random", 0.2)])
    published = published_tables()
    write_boards(found, published, tmp_path)
    text = (tmp_path / "leaderboard.html").read_text(encoding="utf-8")
    page = Page(text)
    assert [address for address in page.loads if not address.startswith("data:")] == []
    assert "@import" not in text and "url(" not in text
    assert len(page.flags) == sum(len(table.rows) for table in published)
    for note in found[0].notes:
        plain = note.replace("`", "")
        assert re.sub(r"\W", "", plain) in re.sub(r"<[^>]*>|&[#\w]+;|\W", "", text), note


def test_an_empty_board_is_a_page_too(tmp_path: Path) -> None:
    write_boards([], published_tables(), tmp_path)
    assert "No records yet" in (tmp_path / "leaderboard.html").read_text(encoding="utf-8")
    assert "booktabs" in (tmp_path / "leaderboard.tex").read_text(encoding="utf-8")
