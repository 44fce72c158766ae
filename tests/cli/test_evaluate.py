"""crbench evaluate: what goes together, and that what is printed is the record."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

Crbench = Callable[..., Result]
Refused = Callable[..., None]


def test_an_unknown_protocol(crbench: Crbench, refused: Refused, trained_run: Path) -> None:
    refused(crbench("evaluate", trained_run, "--protocol", "csmea"), "unknown protocol", "'csmae'?")


@pytest.mark.parametrize(
    ("words", "pieces"),
    [
        (("--grid", "g.gif"), (".png or .pdf", "where: g.gif")),
        (("other",), ("2 runs at once", "where: other", "--compare")),
        (("--compare", "o", "--probe"), ("--probe does not go with --compare", "leave one")),
        (("--compare", "o", "--name", "x"), ("--name does not go with --compare",)),
        (("--approximate", "tree"), ("tree", "ivf")),
        (("--weights", "first"), ("first", "last")),
    ],
)
def test_what_does_not_go_together(
    crbench: Crbench,
    refused: Refused,
    trained_run: Path,
    words: tuple[str, ...],
    pieces: tuple[str, ...],
) -> None:
    refused(crbench("evaluate", trained_run, *words), *pieces)


def test_a_grid_is_drawn_of_a_run(crbench: Crbench, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "mine.npz").write_bytes(b"")
    words = ("evaluate", "mine.npz", "--dataset", "ben-14k-twin", "--grid", "g.png")
    refused(crbench(*words), "a grid is drawn of a run", "where: mine.npz", "leave out --grid")


def test_what_is_printed_is_the_record(
    crbench: Crbench, evaluated_run: Path, tmp_path: Path
) -> None:
    result = crbench("evaluate", evaluated_run, "--out", "r.json", "--json")
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "r.json").read_text())
    assert json.loads(result.output) == record
    words = ("--out", "r.json", "--quiet", "--grid", "g.png")
    shown = crbench("evaluate", evaluated_run, *words).output
    assert shown.endswith("\ng.png\n") and (tmp_path / "g.png").stat().st_size > 10_000
    for direction in ("aa", "bb", "ab", "ba"):
        assert f"{100 * record['scores'][direction]['f1_item@5']['value']:.1f}" in shown
