"""crbench search as a user calls it: table, JSON, strip, and what is said where it cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread
from typer.testing import CliRunner, Result

from crbench.archive.search import open_search
from crbench.cli import app
from crbench.data.cache.reading import open_cache
from crbench.draw import sheet


@pytest.fixture
def run(evaluated_run: Path) -> Path:
    return evaluated_run


@pytest.fixture
def query(twin_cache: Path) -> str:
    return str(open_cache(twin_cache).ids[-1])


def crbench(*words: object) -> Result:
    return CliRunner().invoke(app, ["search", *map(str, words)], env={"COLUMNS": "110"})


def count(path: Path, color: str) -> int:
    """Pixels of exactly this colour."""
    near = np.abs(imread(path)[..., :3] - np.array(to_rgb(color))) < 1.5 / 255
    return int(near.all(axis=2).sum())


def test_the_table_says_what_was_found(run: Path, query: str) -> None:
    result = crbench(run, "--query", query, "--top", 40)
    assert result.exit_code == 0, result.output
    answer = open_search(run, quiet=True).by_id(query, "ab", 40)
    lines = [line.split() for line in result.output.splitlines()]
    for item in answer.items:
        sign = "✓" if item.right else "✗"
        (line,) = (words for words in lines if words[:4] == [
            str(item.rank), f"{item.score:.4f}", sign, item.id])  # fmt: skip
        assert ("own" in line) == (item.id == query)
    text = " ".join(result.output.split())
    first = f"query {query}: {', '.join(answer.query_labels)}"
    gallery = "Top 40 of 40 items (test), protocol leave-one-out"
    for piece in ("S1→S2", first, gallery, "shares at least one label"):
        assert piece in text


def test_json_holds_the_same_and_the_strip_frames_it(run: Path, query: str, tmp_path: Path) -> None:
    out = tmp_path / "strip.png"
    result = crbench(
        run, "--query", query, "--direction", "bb", "--top", 12, "--json", "--out", out
    )
    data = json.loads(result.output)
    answer = open_search(run, quiet=True).by_id(query, "bb", 12)
    assert data["items"] == [
        {"rank": x.rank, "id": x.id, "score": x.score, "labels": x.labels, "right": x.right,
         "own_pair": False} for x in answer.items
    ]  # fmt: skip
    assert (data["direction"], data["query"], data["ranked"]) == ("bb", query, 39)
    right = sum(bool(item.right) for item in answer.items)
    assert 0 < right < 12
    frames = count(out, sheet.RIGHT) / right, count(out, sheet.WRONG) / (12 - right)
    assert frames[0] == pytest.approx(frames[1], rel=0.2)  # as many of each colour as items
    assert count(out, sheet.PLAIN) > 1000  # the query's own


def test_an_image_of_ones_own_is_drawn_in_plain_frames(
    run: Path, query: str, tmp_path: Path
) -> None:
    cache = open_search(run, quiet=True).cache
    np.save(tmp_path / "mine.npy", cache.images("b")[cache.ids.tolist().index(query)])
    out = tmp_path / "strip.png"
    result = crbench(run, "--query", tmp_path / "mine.npy", "--top", 7, "--out", out)
    assert result.exit_code == 0, result.output
    assert "S2→S1" in result.output and "query mine.npy" in result.output
    assert "✓" not in result.output and "✗" not in result.output
    assert count(out, sheet.RIGHT) == count(out, sheet.WRONG) == 0
    short, shape = tmp_path / "short.pdf", imread(out).shape
    assert crbench(run, "--query", tmp_path / "mine.npy", "--top", 3, "--out", short).exit_code == 0
    assert short.read_bytes().startswith(b"%PDF") and shape[0] > 700  # two rows


@pytest.mark.parametrize(
    ("words", "pieces"),
    [
        (("--query", "ben-14k-twin-1x0"), ("no pair named", "did you mean ben-14k-twin-1")),
        (("--query", "nowhere.tif"), ("no such file", "where: nowhere.tif")),
        (("--query", "ben-14k-twin-150", "--direction", "ca"), ("unknown direction 'ca'", "ab")),
        (("--query", "ben-14k-twin-150", "--out", "x.jpg"), (".png or .pdf", "where: x.jpg")),
        (("--query", "ben-14k-twin-150", "--weights", "best"), ("kept no best weights",)),
        (("--query", "ben-14k-twin-150", "--record", "no.json"), ("no such record",)),
        (("--query", "ben-14k-twin-150", "--top", "0"), ("Invalid value for '--top'",)),
        ((), ("Missing option '--query'",)),
    ],
)
def test_what_cannot_be_is_said(run: Path, words: tuple[str, ...], pieces: tuple[str, ...]) -> None:
    result = crbench(run, *words)
    text = result.output + result.stderr
    assert result.exit_code == 2 and "Traceback" not in text
    for piece in pieces:
        assert piece in text


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    result = crbench(tmp_path, "--query", "x")
    assert result.exit_code == 2 and "this folder is not a run" in result.stderr
    assert list(tmp_path.iterdir()) == []
