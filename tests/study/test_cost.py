"""What methods cost: the committed page from its figures, and the published ones beside them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from crbench.files import read_json
from crbench.study.cards import load_study
from crbench.study.cost import print_profile, published_cost, write_cost

COMMITTED = Path(__file__).resolve().parents[2] / "results" / "ablations" / "ben-14k"


@pytest.fixture
def rows() -> list[dict[str, Any]]:
    return list(read_json(COMMITTED / "cost.json")["rows"])


def test_the_committed_page_follows_from_the_committed_figures(
    rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    for path in write_cost(load_study("cost"), rows, "ben-14k", tmp_path):
        assert path.read_bytes() == (COMMITTED / path.name).read_bytes()


def test_what_was_only_counted_has_no_times(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    counted = [{key: row[key] for key in row if key != "latency_ms"} for row in rows[:1]]
    counted[0] |= {"gmacs_per_image": {"a": None, "b": 1.5}, "scale": "tiny"}
    page = write_cost(load_study("cost"), counted, "ben-14k", tmp_path)[1].read_text()
    assert "| – | 1.50 | – | – | – |" in page and " Counted only.\n" in page
    assert page.splitlines()[0].endswith(", scale tiny") and "Latency" not in page


def test_published_figures_are_those_of_the_method_and_the_dataset() -> None:
    figures = published_cost("CR-JEPA", "ben-14k")
    by_figure = {figure["figure"]: figure["value"] for figure in figures}
    assert by_figure == {"GFLOPs per image": "9.6", "latency, ms": "17", "parameters, M": "117.93"}
    assert all("arXiv" in figure["source"] and figure["why"] for figure in figures)
    assert published_cost("CR-JEPA", "dsrsid-twin") == published_cost("", "ben-14k") == []


def test_a_profile_for_people(
    rows: list[dict[str, Any]], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    row = rows[2]
    print_profile(row)
    text = capsys.readouterr().out
    figures = (f"{row['params_trainable']:,}", f"{2 * row['gmacs_per_image']['a']:.2f} GFLOPs")
    words = ("GMACs per image, S1 (2 bands)", "published: parameters, M", "reconstruction")
    assert all(piece in text for piece in (*figures, *words, f"{row['latency_ms']:.1f} ms"))
    print_profile({**row, "published": [], "gmacs_per_image": {"a": None, "b": None}})
    text = capsys.readouterr().out
    assert "reconstruction" not in text and "GMACs per image" not in text
