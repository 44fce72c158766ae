"""crbench leaderboard and report: what is written, and the same as JSON."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

from typer.testing import Result

RECORDS = Path(__file__).resolve().parents[2] / "results" / "records" / "ben-14k-twin"

Crbench = Callable[..., Result]
Refused = Callable[..., None]


def test_a_record_that_is_none(crbench: Crbench, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "x.json").write_text("{")
    refused(crbench("leaderboard", "--records", "r"), "not a JSON file", "x.json")
    assert not (tmp_path / "results").exists()


def test_the_board_is_written_and_printed(crbench: Crbench, tmp_path: Path) -> None:
    words = ("leaderboard", "--records", RECORDS / "cr-jepa", "--records", RECORDS / "random")
    printed = crbench(*words, "--out", "board").output
    files = ", ".join(f"board/leaderboard.{kind}" for kind in ("md", "csv", "tex", "html"))
    assert "CR-JEPA" in printed and printed.endswith(f"written: {files}\n")
    (board,) = json.loads(crbench(*words, "--json", "--no-write").output)["boards"]
    rows = {row["label"]: row["scores"]["ab"]["f1_item@5"] for row in board["rows"]}
    with (tmp_path / "board" / "leaderboard.csv").open(newline="") as handle:
        for line in csv.DictReader(handle):
            if line["origin"] == "measured" and (line["direction"], line["metric"]) == (
                "ab", "f1_item@5",
            ):  # fmt: skip
                assert float(line["value"]) == round(rows[line["method"]]["mean"], 6)
    assert [path.name for path in tmp_path.iterdir()] == ["board"]


def test_without_records_of_its_own_the_board_is_that_of_the_usual_folder(
    crbench: Crbench, refused: Refused, tmp_path: Path
) -> None:
    refused(crbench("leaderboard"), "no such record or folder", "where: results/records")
    shutil.copytree(RECORDS / "cca", tmp_path / "results" / "records")
    (board,) = json.loads(crbench("leaderboard", "--json", "--no-write").output)["boards"]
    assert [row["kind"] for row in board["rows"]] == ["floor", "chance"]


def test_a_report_names_its_pages_and_what_it_left_out(
    crbench: Crbench, trained_run: Path, tmp_path: Path
) -> None:
    shutil.copytree(RECORDS / "cca", tmp_path / "results" / "records")
    site = json.loads(crbench("report", "--out", "site", "--json").output)
    pages = sorted(path.name for path in (tmp_path / "site").glob("*.html"))
    assert pages == ["index.html", "studies.html"] and site["path"] == "site"
    assert site["pages"] == 2 + len(list((tmp_path / "site" / "rows").iterdir()))
    assert site["pictures"] == 0 and site["left_out"] == []
    again = crbench("report", "--out", "site", "--quiet", "--records", RECORDS / "random")
    assert again.output == "site/index.html\n"
    assert "Random encoder" in (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
