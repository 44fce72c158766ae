"""A comparison as table and data: verdicts at the limit, what lacks, texts as they are."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path

import pytest

from crbench.board.comparison import comparison_data, print_comparison_table, verdict
from crbench.data.cache.reading import open_cache
from crbench.evaluation.compare import Comparison, Difference
from crbench.records import ProtocolEntry

F1 = "f1_item@5"
EVIL = "runs/[red]a[/red]/<i>&" + "long/" * 40 + "seed0"


def cell(difference: float | None, p: float | None = 0.001) -> Difference:
    low, high = (None, None) if difference is None else (difference - 0.01, difference + 0.01)
    return {"difference": difference, "low": low, "high": high, "p": p,
            "n_seeds_a": 1, "n_seeds_b": 1}  # fmt: skip


@pytest.fixture
def compared(twin_cache: Path) -> Comparison:
    """Differences of one metric of the headline in all directions, and of one beside it in one."""
    values = {"aa": cell(-0.0004, 0.9), "bb": cell(0.1, 0.05), "ab": cell(0.5), "ba": cell(-1.0)}
    differences = {direction: {F1: value} for direction, value in values.items()}
    differences["ab"]["pair_r@1"] = cell(0.25)
    protocol = ProtocolEntry(
        name="leave-one-out", query=["test"], gallery=["test"], n_query=1234, n_gallery=56789,
        exclude_self=True, similarity="cosine", ties="expected",
    )  # fmt: skip
    return Comparison((EVIL,), ("b/seed0",), open_cache(twin_cache), protocol, differences)


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """``printed(compared)``: what stands on a terminal of 100 letters."""
    monkeypatch.setenv("COLUMNS", "100")

    def output(compared: Comparison) -> str:
        print_comparison_table(compared)
        return capsys.readouterr().out

    return output


def rows(output: str) -> list[list[str]]:
    """The lines of the table, which begin with its metric."""
    return [line.split() for line in output.splitlines() if line.startswith(" F1@5 (item) ")]


@pytest.mark.parametrize(
    ("difference", "p", "word"),
    [
        (0.01, 0.0499, "better"),
        (-0.01, 0.0499, "worse"),
        (0.9, 0.05, "not significantly different"),
        (-0.9, 1.0, "not significantly different"),
        (0.01, 0.0, "better"),
        (None, None, "undefined"),
        (None, 0.01, "undefined"),
        (0.5, None, "undefined"),
    ],
)
def test_a_difference_is_significant_below_the_limit(
    difference: float | None, p: float | None, word: str
) -> None:
    assert verdict(cell(difference, p)) == word


def test_data_holds_every_difference_with_its_verdict(compared: Comparison) -> None:
    before = copy.deepcopy(compared.differences)
    data = json.loads(json.dumps(comparison_data(compared)))
    assert compared.differences == before
    assert (data["a"], data["b"]) == ([EVIL], ["b/seed0"])
    assert (data["dataset"], data["cache_digest"]) == ("ben-14k-twin", compared.data.digest)
    assert data["protocol"]["n_gallery"] == 56789 and data["headline"] == [F1]
    parts = data["differences"]
    words = {direction: part[F1].pop("verdict") for direction, part in parts.items()}
    same = "not significantly different"
    assert words == {"aa": same, "bb": same, "ab": "better", "ba": "worse"}
    assert parts["ab"].pop("pair_r@1")["verdict"] == "better"  # no headline, and in the data
    assert parts == {direction: {F1: part[F1]} for direction, part in before.items()}


def test_the_table_has_a_line_for_each_direction_of_the_headline(
    compared: Comparison, printed
) -> None:
    output = printed(compared)
    assert [row[2:] for row in rows(output)] == [
        ["S1→S1", "-0.0", "-1.0", "…", "+1.0", "0.900", "not", "significantly", "different"],
        ["S2→S2", "+10.0", "+9.0", "…", "+11.0", "0.050", "not", "significantly", "different"],
        ["S1→S2", "+50.0", "+49.0", "…", "+51.0", "0.001", "better"],
        ["S2→S1", "-100.0", "-101.0", "…", "-99.0", "0.001", "worse"],
    ]
    assert "pair recall" not in output
    text = " ".join(output.split())
    assert "1,234 queries, 56,789 gallery items" in text and "significant below 0.05" in text


def test_paths_stand_in_one_line_as_they_are(compared: Comparison, printed) -> None:
    two = replace(compared, b=("b/seed0", "[b]/seed1"))
    lines = printed(two).splitlines()
    assert lines[:2] == [f"A: {EVIL}", "B: b/seed0, [b]/seed1"]


def test_what_lacks_is_no_line_and_what_is_undefined_is_dashes(
    compared: Comparison, printed
) -> None:
    one = replace(compared, differences={"ab": {F1: cell(None, None)}, "ba": {"map": cell(0.1)}})
    assert [row[2:] for row in rows(printed(one))] == [["S1→S2", "–", "–", "–", "undefined"]]
    assert rows(printed(replace(compared, differences={}))) == []


@pytest.mark.parametrize(
    ("n", "words"),
    [
        ((1, 1), "One training each: other seeds of the same methods may differ more."),
        ((2, 2), "Trainings: 2 and 2, paired in the order given."),
        ((1, 2), "Trainings: 1 and 2, drawn on each side by itself."),
        ((3, 1), "Trainings: 3 and 1, drawn on each side by itself."),
    ],
)
def test_trainings_are_counted(
    compared: Comparison, printed, n: tuple[int, int], words: str
) -> None:
    paths = [tuple(f"{side}/{seed}" for seed in range(k)) for side, k in zip("ab", n, strict=True)]
    output = " ".join(printed(replace(compared, a=paths[0], b=paths[1])).split())
    assert words in output
    assert ("Trainings:" in output) == (n != (1, 1))
