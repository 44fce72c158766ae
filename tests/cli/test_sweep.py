"""``crbench sweep`` as a user calls it: judged on val alone, gone on with, every try counted."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crbench.cli import app
from crbench.study import ablate
from crbench.study.job import run_job
from crbench.study.launch import RunTask, Tell

CARD = """
name = "two"
title = "Two"
question = "Which?"
method = "cr-jepa"
also = [["model.width=7"]]

[axes]
"loss.sig" = [0.5]
"""


def test_a_sweep_from_its_card_to_its_page(
    twin_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[str] = []

    def here(tasks: Sequence[RunTask], max_jobs: int, tell: Tell) -> dict[str, int]:
        """A launcher without processes, which take seconds to start."""
        begun.extend(task.name for task in tasks)
        return {t.name: run_job(json.dumps(t.spec | {"parent": None})) for t in tasks}

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ablate, "launch_local", here)
    Path("two.toml").write_text(CARD)
    words = ["sweep", "two.toml", "--dataset", "ben-14k-twin", "--scale", "tiny", "--set",
             "train.epochs=1", "--cache", str(twin_cache), "--threads", "1"]  # fmt: skip
    first = CliRunner().invoke(app, [*words, "--json"])
    assert first.exit_code == 1, first.output  # one try failed
    assert begun == ["as it is, seed 0", "loss.sig=0.5, seed 0", "model.width=7, seed 0"]
    lines = json.loads(first.stdout[first.stdout.index("[") :])
    assert {(line["try"], line["direction"]) for line in lines} == {
        (name, d) for name in ("as it is", "loss.sig=0.5") for d in ("ab", "ba", "mean")
    }
    assert not list(tmp_path.rglob("record*.json"))  # what a board scores was not looked at
    begun.clear()
    again = CliRunner().invoke(app, [*words, "--quiet"])
    assert begun == ["model.width=7, seed 0"] and "Of 3 tries" in again.output
    page = Path("results/sweeps/ben-14k-twin/two.md").read_text()
    assert "model.width" in page and "One training each" in page
    shown = CliRunner().invoke(app, [*words, "--table"])
    assert shown.exit_code == 0 and begun == ["model.width=7, seed 0"]
    wrong = CliRunner().invoke(app, [*words, "--by", "mapp"])
    assert wrong.exit_code == 2 and "pair_r@5" in wrong.output and "Traceback" not in wrong.output
