"""crbench grid and map: which queries are drawn, and what cannot be."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.image import imread
from typer.testing import Result

Crbench = Callable[..., Result]
Refused = Callable[..., None]


def test_a_number_draws_as_many_queries_and_an_id_that_one(
    crbench: Crbench, refused: Refused, evaluated_run: Path, tmp_path: Path
) -> None:
    heights = {}
    for name in ("3", "ben-14k-twin-121"):
        words = ("--out", f"{name}.png", "--top", 2, "--queries", name)
        result = crbench("grid", evaluated_run, *words)
        assert result.exit_code == 0, result.output
        assert result.output == f"{name}.png\n"
        heights[name] = imread(tmp_path / f"{name}.png").shape[0]
    assert heights["3"] > 2.4 * heights["ben-14k-twin-121"]
    words = ("grid", evaluated_run, "--queries", "ben-14k-twin-9999")
    refused(crbench(*words), "ben-14k-twin-9999")


def test_a_map_of_the_other_direction(
    crbench: Crbench, evaluated_run: Path, tmp_path: Path
) -> None:
    shutil.move(evaluated_run / "record.json", tmp_path / "elsewhere.json")
    words = ("map", evaluated_run, "--items", 20, "--direction", "ba")
    try:
        result = crbench(*words, "--record", "elsewhere.json")
    finally:
        shutil.move(tmp_path / "elsewhere.json", evaluated_run / "record.json")
    assert result.exit_code == 0, result.output
    assert result.output == "map.png\n" and imread(tmp_path / "map.png").shape[0] > 500


@pytest.mark.parametrize(
    ("words", "pieces"),
    [
        (("grid", "--out", "g.jpg"), (".png or .pdf", "where: g.jpg")),
        (("map", "--out", "m"), (".png or .pdf", "where: m")),
        (("map", "--direction", "aa"), ("aa",)),
        (("map", "--record", "no.json"), ("no such record", "where: no.json")),
        (("grid", "--top", "21"), ("Invalid value for '--top'",)),
    ],
    ids=" ".join,
)
def test_what_cannot_be_drawn(
    crbench: Crbench,
    refused: Refused,
    evaluated_run: Path,
    tmp_path: Path,
    words: tuple[str, ...],
    pieces: tuple[str, ...],
) -> None:
    refused(crbench(words[0], evaluated_run, *words[1:]), *pieces)
    assert list(tmp_path.iterdir()) == []
