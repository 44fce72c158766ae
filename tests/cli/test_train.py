"""crbench train and profile: exit codes, what lies there after, and what is left as it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from matplotlib.image import imread
from typer.testing import Result

from crbench.models.cr_jepa import CRJEPA

Crbench = Callable[..., Result]
Refused = Callable[..., None]


def files(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def short(crbench: Crbench, cache: Path, *words: object) -> Result:
    always = ("--scale", "tiny", "--epochs", 1, "--quiet", "--cache", cache)
    return crbench("train", "cr-jepa", "ben-14k-twin", *always, *words)


def test_train_share_and_score(crbench: Crbench, twin_cache: Path) -> None:
    result = short(crbench, twin_cache, "--eval-every", 1, "--keep-best", "map")
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
    crbench: Crbench, twin_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def one_point(self: CRJEPA, images: torch.Tensor, modality: str) -> dict[str, torch.Tensor]:
        return {view: torch.ones(len(images), 4) for view in ("uni", "cross")}

    monkeypatch.setattr(CRJEPA, "embed", one_point)
    result = short(crbench, twin_cache, "--eval-every", 1, "--stop-on-collapse")
    assert result.exit_code == 3
    assert "embeddings have collapsed" in result.output and "fix:" in result.output


def test_a_picture_that_fails_fails_nothing_else(
    crbench: Crbench, twin_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no fonts")

    monkeypatch.setattr("crbench.draw.curves.training_curves", broken)
    result = short(crbench, twin_cache)
    assert result.exit_code == 0 and "no curves were drawn: RuntimeError: no fonts" in result.output


def test_the_wrong_cache(crbench: Crbench, refused: Refused, twin_cache: Path) -> None:
    refused(crbench("train", "cr-jepa", "ben-14k", "--cache", twin_cache), "holds 'ben-14k-twin'")


def test_a_run_is_not_overwritten(
    crbench: Crbench, refused: Refused, twin_cache: Path, trained_run: Path
) -> None:
    before = files(trained_run)
    words = ("train", "cr-jepa", "ben-14k-twin", "--scale", "tiny", "--cache", twin_cache, "-q")
    refused(crbench(*words, "--out", trained_run), "a run exists here", "fix: go on with --resume")
    other = (*words, "--out", trained_run, "--resume", "--seed", 5)
    refused(crbench(*other), "another")
    assert files(trained_run) == before


def test_a_folder_with_other_things_is_not_used(
    crbench: Crbench, refused: Refused, twin_cache: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    words = ("train", "cr-jepa", "ben-14k-twin", "--scale", "tiny", "--cache", twin_cache)
    refused(crbench(*words, "--out", "mine"), "not empty and is not a run", "another --out")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "all of it"


def test_a_device_that_is_not_there(
    crbench: Crbench, refused: Refused, twin_cache: Path, tmp_path: Path
) -> None:
    words = ("train", "cr-jepa", "ben-14k-twin", "--scale", "tiny", "--cache", twin_cache)
    refused(crbench(*words, "--device", "abacus"), "'abacus' cannot be used", "cpu, cuda or cuda:N")
    assert not (tmp_path / "runs").exists()


def test_only_the_published_card_is_held_against_published_figures(crbench: Crbench) -> None:
    """tests/training/test_profile.py has those of the card as it is published."""
    words = ("profile", "cr-jepa", "ben-14k", "--no-time", "--scale", "tiny")
    figures = json.loads(crbench(*words, "--json").output)
    assert figures["published"] == [] and "latency_ms" not in figures
    printed = crbench(*words).output
    assert f"{figures['params_trainable']:,}" in printed and "published" not in printed
