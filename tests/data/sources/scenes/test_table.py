"""The card's table of scenes: what is refused, and that each mistake names its line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crbench.cards import load_dataset, parse
from crbench.data.sources.scenes.table import ScenesTable, scene_lines
from crbench.errors import UserError

SOURCE: dict[str, Any] = {
    "kind": "scenes", "table": "mine.csv", "crs": "EPSG:3395", "split": {"by": "table"},
    "a": {"file": "a/{scene}.png", "size": [8, 8]}, "b": {"file": "b/{scene}.png", "size": [8, 8]},
}  # fmt: skip
HEAD = "scene,split,x_min,y_min,x_max,y_max\n"


def lines(tmp_path: Path, text: str, **changes: Any) -> list[dict[str, str]]:
    (tmp_path / "mine.csv").write_text(text, encoding="utf-8")
    table = parse(ScenesTable, SOURCE | changes, where="card")
    return scene_lines(load_dataset("s1s2-places"), table, tmp_path)


def test_a_table_is_read_by_its_header(tmp_path: Path) -> None:
    found = lines(tmp_path, "\ufeff" + HEAD + "7,train,0,0,1,1\n")
    assert found == [
        {"scene": "7", "split": "train", "x_min": "0", "y_min": "0", "x_max": "1", "y_max": "1"}
    ]
    assert lines(tmp_path, "scene\n7\n", crs="", split={"by": "scene", "shares": {"train": 1.0}})


def test_a_table_that_ships_with_its_card_is_taken_before_one_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "scenes.csv").write_text(HEAD, encoding="utf-8")
    card = load_dataset("s1s2-places")
    shipped = scene_lines(card, parse(ScenesTable, card.source, where="card"), tmp_path)
    assert len(shipped) == 99


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (HEAD, "names no scene"),
        (HEAD + "7,,0,0,1,1\n", "no split"),
        ("scene,split\n7,train\n", "no x_min"),
        (HEAD + "7,train,0,0,1,1\n7,val,0,0,1,1\n", "'7' stands twice"),
        (HEAD + "../7,train,0,0,1,1\n", "no name of a scene"),
        (HEAD + '"7,train\n', "not a CSV file"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(tmp_path: Path, text: str, match: str) -> None:
    with pytest.raises(UserError, match=match) as caught:
        lines(tmp_path, text)
    assert "mine.csv" in str(caught.value.where)


def test_no_table_at_all(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such table of scenes"):
        scene_lines(load_dataset("s1s2-places"), parse(ScenesTable, SOURCE, where="c"), tmp_path)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"a": {"file": "a.png", "size": [8, 8]}}, "is no pattern"),
        ({"a": {"file": "/etc/{scene}", "size": [8, 8]}}, "is no pattern"),
        ({"a": {"file": "../{scene}.png", "size": [8, 8]}}, "is no pattern"),
        ({"table": ""}, "name it"),
        ({"split": {"by": "scene", "shares": {"train": 0.5}}}, "do not sum to 1"),
        ({"split": {"by": "quadrant", "quadrants": {"NW": "train"}}}, "names NW, NE, SW and SE"),
        ({"tile": 3}, "unknown key 'tile'"),
    ],
)
def test_a_card_that_contradicts_itself_is_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(UserError, match=match):
        parse(ScenesTable, SOURCE | changes, where="card")
