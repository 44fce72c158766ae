"""Commands on runs, from the outside: exit codes, what lies there after, mistyped names."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from matplotlib.image import imread
from typer.testing import CliRunner, Result

from crbench.cli import app
from crbench.models.cr_jepa import CRJEPA


def crbench(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def short(cache: Path, *words: object) -> Result:
    always = ("--scale", "tiny", "--epochs", 1, "--quiet", "--cache", cache)
    return crbench("train", "cr-jepa", "ben-14k-twin", *always, *words)


def test_train_share_and_score(here: Path, twin_cache: Path) -> None:
    result = short(twin_cache, "--eval-every", 1, "--keep-best", "map")
    assert result.exit_code == 0, result.output
    run = Path("runs/ben-14k-twin/cr-jepa@tiny/seed0")
    assert imread(run / "curves.png").shape[0] > 800  # three panels: the scores are drawn too
    assert crbench("evaluate", run, "--weights", "best", "--quiet").exit_code == 0
    assert (run / "record-best.json").is_file() and (run / "embeddings-best.h5").is_file()
    assert not (run / "embeddings.h5").exists()
    board = crbench("leaderboard", "--records", "runs", "--no-write").output
    assert "best map on val" in board
    assert crbench("hub", "push", run, "./shared/run").exit_code == 0
    pulled = crbench("hub", "pull", "./shared/run", "pulled")
    assert pulled.exit_code == 0 and "next: crbench evaluate pulled" in pulled.output
    words = ("evaluate", "pulled", "--cache", twin_cache, "--weights", "best", "--json")
    scores = json.loads(crbench(*words).stdout)["scores"]
    assert scores == json.loads((run / "record-best.json").read_text())["scores"]

    for command in ("evaluate", "embed"):
        refused = crbench(command, "runs/ben-14k-twin/cr-jepa@tiny/sed0")
        assert refused.exit_code == 2
        assert "no such run folder" in refused.output and f"runs near it: {run}" in refused.output


def test_a_collapse_has_its_own_exit_code(
    here: Path, twin_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_point(self: CRJEPA, images: torch.Tensor, modality: str) -> dict[str, torch.Tensor]:
        return {view: torch.ones(len(images), 4) for view in ("uni", "cross")}

    monkeypatch.setattr(CRJEPA, "embed", one_point)
    result = short(twin_cache, "--eval-every", 1, "--stop-on-collapse")
    assert result.exit_code == 3
    assert "embeddings have collapsed" in result.output and "fix:" in result.output


def test_a_picture_that_fails_fails_nothing_else(
    here: Path, twin_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no fonts")

    monkeypatch.setattr("crbench.draw.curves.training_curves", broken)
    result = short(twin_cache)
    assert result.exit_code == 0 and "no curves were drawn: RuntimeError: no fonts" in result.output
