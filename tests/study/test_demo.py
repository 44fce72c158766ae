"""The demo as a user calls it, and what it refuses to go on with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from matplotlib.image import imread
from typer.testing import CliRunner

from crbench.cards import load_dataset
from crbench.cli import app
from crbench.errors import UserError
from crbench.study.demo import _fewer, run_demo


def demo(*words: str) -> str:
    result = CliRunner().invoke(app, ["demo", *words])
    assert result.exit_code == 0, result.output
    return result.output


def test_a_demo_goes_from_nothing_to_a_board_and_is_not_made_twice(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    words = ("--out", str(out), "--pairs", "200", "--epochs", "1", "--quiet")
    printed = demo(*words)
    rows = json.loads((out / "leaderboard.json").read_text())
    by_method = {row["method"]: row for row in rows}
    assert len(rows) == len(by_method) == 9
    floors = {"random", "band-stats", "cca", "ridge-cca"}
    assert set(by_method) == {"cr-jepa", "x-jepa", "rejepa", "ceiling", "chance"} | floors
    for row in rows:
        for direction in ("aa", "bb", "ab", "ba"):
            assert 0 <= row["scores"][direction]["f1_item@5"] <= 1
    record = json.loads((out / "cr-jepa" / "record.json").read_text())
    value = record["scores"]["ab"]["f1_item@5"]["value"]
    assert by_method["cr-jepa"]["scores"]["ab"]["f1_item@5"] == value
    assert f"{100 * value:.1f}" in printed
    for piece in ("synthetic", "CR-JEPA", "REJEPA", "chance", "S1→S2", "Next:", "grid.png"):
        assert piece in printed
    assert imread(out / "grid.png").shape[0] > 1000 and (out / "curves.png").is_file()
    assert "synthetic" in (out / "leaderboard.md").read_text()

    before = {p: p.read_bytes() for p in sorted(out.rglob("*")) if p.is_file()}
    assert demo(*words) == printed  # nothing is trained again, the board is the same
    assert {p: p.read_bytes() for p in before} == before


def test_a_demo_of_other_settings_is_not_gone_on_with(twin_cache: Path, tmp_path: Path) -> None:
    cache = tmp_path / "ben-14k-twin-2.h5"
    cache.symlink_to(twin_cache)
    with pytest.raises(UserError, match="made with other settings"):
        run_demo(tmp_path, pairs=200, quiet=True)
    assert list(tmp_path.iterdir()) == [cache]


def test_fewer_pairs_are_shared_among_the_splits_and_none_gets_fewer_than_8() -> None:
    splits = load_dataset("ben-14k-twin-2").source["splits"]
    total = sum(splits.values())
    for pairs in (1, 64, total, 2 * total):
        sizes = load_dataset("ben-14k-twin-2", overrides=_fewer(pairs)).source["splits"]
        assert sizes == {name: max(8, n * pairs // total) for name, n in splits.items()}
    assert _fewer(None) == []
