"""Published tables: complete, sourced, and consistent with the averages they print."""

from __future__ import annotations

import csv

import pytest

from crbench.board.published import COMPARABLE, fraction, published_folder, published_tables

FILES = sorted(path for path in published_folder().glob("*.csv"))
SCORED = [p for p in FILES if p.stem not in ("table-s1", "cost")]
DIRECTIONS = ("aa", "bb", "ab", "ba")


def rows(path: object) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as handle:  # type: ignore[call-overload]
        return list(csv.DictReader(handle))


def test_all_tables_are_there() -> None:
    assert len(FILES) == 14


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_every_row_names_its_source(path: object) -> None:
    for row in rows(path):
        assert row["source"] and row["table"]
        assert None not in row and None not in row.values()  # as many fields as columns


@pytest.mark.parametrize("path", SCORED, ids=lambda p: p.stem)
def test_every_scored_row_names_metric_and_comparability(path: object) -> None:
    for row in rows(path):
        assert row["metric"] in {"f1_item@5", "f1_query@5", "f1@5", "map", "p@5"}
        assert row["comparable"] in COMPARABLE and row["why"]
        assert all(0 < float(row[d]) < 100 for d in DIRECTIONS if row[d])


@pytest.mark.parametrize("path", SCORED, ids=lambda p: p.stem)
def test_printed_averages_are_the_means(path: object) -> None:
    for row in rows(path):
        if row.get("avg"):
            mean = sum(float(row[d]) for d in DIRECTIONS) / 4
            assert abs(mean - float(row["avg"])) < 0.0151, row  # one row is printed 0.01 off


def test_one_definition_per_number() -> None:
    by_method = {row["method"]: row for row in rows(published_folder() / "table-1.csv")}
    assert by_method["CR-JEPA"]["metric"] == "f1_item@5"
    assert by_method["CSMAE-SESD (Disjoint)"]["comparable"] == "no"
    assert by_method["SatMAE"]["comparable"] == "unknown"
    assert len({row["metric"] for row in by_method.values()}) == 2


def test_tables_as_the_board_shows_them() -> None:
    tables = {(table.dataset, table.heading): table for table in published_tables()}
    assert set(tables) == {
        ("ben-14k", "F1@5"), ("ben-14k-10", "F1@5"), ("cbrsir-vs", "mAP"), ("cbrsir-vs", "P@5"),
        ("dsrsid", "mAP"), ("dsrsid", "P@5"),
    }  # fmt: skip
    last = tables["ben-14k", "F1@5"].rows[-1]
    assert (last.method, last.values["ab"], last.params_m) == ("CR-JEPA", 0.7582, 117.93)
    missing = next(r for r in tables["ben-14k", "F1@5"].rows if r.method == "ScaleMAE")
    assert missing.values["bb"] is None
    assert [len(t.rows) for t in tables.values()] == [13, 1, 5, 5, 5, 5]


def test_fraction_keeps_printed_digits() -> None:
    assert fraction("75.11") == 0.7511 and fraction("") is None
