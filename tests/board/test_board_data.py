"""CSV and JSON of boards: fractions of every row, holes where there is nothing."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable

import pytest

from crbench.board.board_data import board_csv, board_json, csv_of
from crbench.board.published import published_tables
from crbench.board.rows import boards
from crbench.records import Record

EVIL = "a|b & c$ <i> {x}_1 [red]no[/red]"


def test_csv_has_six_decimals_counts_as_they_are_and_holes() -> None:
    text = csv_of(["a", "b", "c", "d"], [{"a": -0.5, "b": 3, "c": EVIL}, {"a": None}])
    assert text.splitlines()[1].startswith("-0.500000,3,")
    first, second = csv.DictReader(io.StringIO(text))
    assert first["c"] == EVIL and set(second.values()) == {""}


F1 = "f1_item@5"
Make = Callable[..., Record]


def test_csv_holds_fractions_of_every_row(make_record: Make) -> None:
    text = board_csv(boards([make_record(value=0.5), make_record(value=0.6, seed=1)]))
    lines = list(csv.DictReader(io.StringIO(text)))
    (line,) = [
        line for line in lines
        if (line["origin"], line["direction"], line["metric"]) == ("measured", "ab", F1)
    ]  # fmt: skip
    assert float(line["value"]) == pytest.approx(0.55)
    assert float(line["sd"]) == pytest.approx(0.0707107, abs=1e-6)
    assert line["n"] == "2" and line["synthetic"] == "1"
    assert line["source"] == "cr-jepa-tiny-seed0 cr-jepa-tiny-seed1"
    assert {line["origin"] for line in lines} == {"measured", "analytic"}


def test_json_is_plain_and_complete(make_record: Make) -> None:
    data = json.loads(json.dumps(board_json(boards([make_record()]), published_tables())))
    (board,) = data["boards"]
    assert board["rows"][0]["scores"]["ba"][F1]["mean"] == 0.5
    assert board["rows"][-1]["method"] == "chance"
    assert any(row["comparable"] == "no" for table in data["published"] for row in table["rows"])
