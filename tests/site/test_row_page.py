"""The page of one row: means over its runs, what is unknown as a dash, names as text."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from crbench.board.rows import boards
from crbench.records import Record
from crbench.site.row_page import row_page
from crbench.site.site import write_site

Make = Callable[..., Record]
F1 = "f1_item@5"
EVIL = '"><script>alert(1)</script>&amp;'


def page_of(records: Sequence[Record], **more: Any) -> str:
    """The page of the first row of the records' board."""
    board = boards(records)[0]
    row = board.rows[0]
    files = more.pop("files", [f"run{n}.json" for n in range(row.n)])
    return row_page(board, row, files=files, **more)


def table(text: str, heading: str) -> list[list[str]]:
    """Texts of the body's cells, row by row, of the table below a heading."""
    body = text.partition(f"<h2>{heading}</h2>")[2].partition("<tbody>")[2].partition("</tbody>")[0]
    return [
        [
            html.unescape(re.sub(r"<.*?>", "", cell)).strip()
            for cell in re.findall(r"<t[hd]\b[^>]*>(.*?)</t[hd]>", line, flags=re.DOTALL)
        ]
        for line in re.findall(r"<tr>(.*?)</tr>", body, flags=re.DOTALL)
    ]


def test_classes_are_means_of_the_runs_that_know_them(make_record: Make) -> None:
    scores: list[dict[str, dict[str, dict[str, float | None]]]] = [
        {"ab": {F1: {"Water": 0.1, EVIL: 0.0, "Absent": None}, "map": {"Other": 0.9}}, "ba": {}},
        {"ab": {F1: {"Water": 0.4, EVIL: None}}, "aa": {F1: {"Bog": 1.0}}},
    ]
    runs = [make_record(seed=seed, per_class=part) for seed, part in enumerate(scores)]
    text = page_of(runs)
    assert table(text, "By class") == [
        [EVIL, "–", "–", "0.0", "–"],
        ["Absent", "–", "–", "–", "–"],
        ["Bog", "100.0", "–", "–", "–"],
        ["Water", "–", "–", "25.0", "–"],
    ]
    assert 'data-v="0.250000"' in text and text.count("<script") == 1
    assert "By class" not in page_of([make_record()])


def test_health_is_of_the_gallery_or_of_the_direction(make_record: Make) -> None:
    directions = {
        "aa": {"gallery": {"feature_std": 0.0, "effective_rank": 12.3456}, "gap": 1},
        "ab": {"gallery": {"gap": 9.0, "spread": None}, "gap": 0.25, "tied_share": 1e-7},
    }
    text = page_of([make_record(health={"directions": directions, "collapsed_reason": None})])
    assert table(text, "Health") == [
        ["feature sd", "0", "–", "–", "–"],
        ["spread", "–", "–", "–", "–"],
        ["effective rank", "12.3", "–", "–", "–"],
        ["modality gap", "1", "–", "0.25", "–"],
        ["tied scores", "–", "–", "1e-07", "–"],
    ]
    bare = table(page_of([make_record(health={})]), "Health")
    assert [line[1:] for line in bare] == [["–"] * 4] * 5


def test_runs_stand_with_their_own_files_and_scores(make_record: Make) -> None:
    values = {"aa": 0.1, "bb": 0.2, "ab": 0.3, "ba": 1.0}
    runs = [make_record(seed=7, values=values), make_record(seed=3, value=0.0)]
    text = page_of(runs, files=["three.json", "seven.json"])
    names = [run.run for run in sorted(runs, key=lambda run: run.training.seed)]  # type: ignore[union-attr]
    day = "2026-01-02"
    assert table(text, "Runs") == [
        [names[0], "3", *["0.0"] * 4, day, "JSON"],
        [names[1], "7", "10.0", "20.0", "30.0", "100.0", day, "JSON"],
    ]
    links = re.findall(r'href="../records/(.*?)"', text)
    assert links == ["three.json", "seven.json"]
    with pytest.raises(ValueError, match="zip"):
        page_of(runs, files=["three.json"])
    assert "mean over 2 runs," in text and "the others differ in" in text
    one = page_of(runs[:1])
    assert "mean over 1 run," in one and "the others differ in" not in one


def test_the_difference_of_the_ways_across_has_its_sign(make_record: Make) -> None:
    for values, difference in (
        ({"ab": 0.2, "ba": 0.5}, "−30.0"), ({"ab": 0.5, "ba": 0.2}, "+30.0"), ({}, "+0.0"),
    ):  # fmt: skip
        lines = table(page_of([make_record(values=values)]), "Scores")
        assert lines[0][0] == "F1@5 (item)" and lines[0][-1] == difference
    assert lines[1][0] == "pair recall@1"  # what the record holds beside the headline
    run = make_record().model_dump()
    run["scores"]["ba"] = {}
    line = table(page_of([Record.model_validate(run)]), "Scores")[0]
    assert line[-3:] == ["–"] * 3  # the direction, the mean, the difference


def test_facts_are_rounded_and_empty_ones_left_out(make_record: Make) -> None:
    text = page_of([make_record(timings={"embed": 1.005001, "score": 2}, memory={"embed": 0.004})])
    assert "<dt>Timings (s)</dt><dd>embed 1.01, score 2.00</dd>" in text
    assert "<dt>Memory (GiB)</dt><dd>embed 0.00</dd>" in text
    assert "<dt>Versions</dt>" not in text and "<dt>Hardware</dt>" not in text


def test_pictures_lead_up_and_their_words_are_text(make_record: Make) -> None:
    text = page_of([make_record()], pictures=[("Maps", "pictures/a.png", EVIL)])
    assert text.count('src="../pictures/a.png"') == text.count('href="../pictures/a.png"') == 1
    assert text.count("<script") == 1 and "&lt;script&gt;" in text


def test_embeddings_of_other_programs_have_a_page(make_record: Make, tmp_path: Path) -> None:
    run = make_record().model_dump()
    run["training"] = None
    run["method"] |= {"kind": "external", "card": {"file": "mine.npz"}, "title": "Mine"}
    write_site([Record.model_validate(run), make_record("random", 0.2)], tmp_path / "s")
    (page,) = (p for p in (tmp_path / "s" / "rows").iterdir() if "random" not in p.name)
    text = page.read_text(encoding="utf-8")
    assert "embeddings of another program" in text and "No card of this installation" in text
    board = (tmp_path / "s" / "index.html").read_text(encoding="utf-8")
    assert 'data-source="external"' in board and "embeddings of an external program" in board
