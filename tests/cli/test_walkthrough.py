"""The commands of README.md in order as they stand there, on fewer pairs and epochs."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.image import imread
from typer.testing import CliRunner

from crbench.cli import app

README = Path(__file__).resolve().parents[2] / "README.md"
SMALL = ["--set", "source.splits.train=96", "--set", "source.splits.val=24"]
SMALL += ["--set", "source.splits.test=40"]
QUICK = {
    "train": ["--epochs", "1", "--quiet"],
    "ablate": ["--seeds", "1", "--set", "train.epochs=1", "--quiet"],
}
SMALLER = {"ben-14k-twin-2-2500": "ben-14k-twin-2-120"}  # the first test pair, of fewer pairs
ENDLESS = {"serve"}  # a server answers until it is interrupted: tests/serve does both


def commands(readme: str) -> list[str]:
    """Every line of the shell blocks."""
    blocks = re.findall(r"```sh\n(.*?)```", readme, flags=re.DOTALL)
    return [line.strip() for block in blocks for line in block.splitlines() if line.strip()]


COMMANDS = commands(README.read_text(encoding="utf-8"))
REAL = [line for line in COMMANDS if "--source DIR" in line]


def crbench(*words: str) -> str:
    result = CliRunner().invoke(app, list(words))
    assert result.exit_code == 0, f"crbench {shlex.join(words)}\n{result.output}"
    return result.output


def test_the_readme_shows_every_command() -> None:
    shown = {tuple(line.split()[1:3]) for line in COMMANDS if line.startswith("crbench")}
    names = {words[0] for words in shown}
    assert names >= {
        "doctor", "list", "cache", "train", "embed", "evaluate", "leaderboard", "ablate", "profile",
        "grid", "map", "report", "reproduce", "search",
        "serve",
    }  # fmt: skip
    assert {words[1] for words in shown if words[0] == "cache"} == {
        "build", "info", "verify", "preview",
    }  # fmt: skip
    assert {"make demo", "make test"} <= set(COMMANDS)
    assert all(line.split()[0] in ("crbench", "make") for line in COMMANDS)


def test_the_readme_walkthrough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRBENCH_CACHES", str(tmp_path / "caches"))
    for line in COMMANDS:
        words = [SMALLER.get(word, word) for word in shlex.split(line)]
        words = [str(README.parent / w) if w.startswith("results/") else w for w in words]
        if words[0] == "make" or line in REAL or "--run" in words or words[1] in ENDLESS:
            continue  # --run takes two minutes: test_reproduce.py
        if words[1] == "ablate" and "--plan" not in words:
            continue  # its processes take half a minute: below
        extra = QUICK.get(words[1], [])
        extra = SMALL if words[1:3] == ["cache", "build"] else extra
        crbench(*words[1:], *extra)
    run = tmp_path / "runs" / "ben-14k-twin-2" / "cr-jepa@tiny" / "seed0"
    record = json.loads((run / "record.json").read_text())
    assert record["protocol"]["name"] == "leave-one-out"
    assert json.loads((tmp_path / "csmae.json").read_text())["protocol"]["query"] == ["val"]
    for picture in ("pairs.png", "grid.png", "wrong.png", "map.png", "found.png"):
        assert imread(tmp_path / picture).shape[0] > 500
    (page,) = (tmp_path / "site" / "rows").glob("ben-14k-twin-2-cr-jepa-*.html")
    assert "modality gap" in page.read_text(encoding="utf-8")
    board = (tmp_path / "board" / "leaderboard.md").read_text()
    assert "BEN-14K twin 2 (synthetic)" in board and "CR-JEPA" in board


@pytest.mark.soak
def test_the_study_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRBENCH_CACHES", str(tmp_path / "caches"))
    crbench("cache", "build", "ben-14k-twin", *SMALL)
    lines = [line for line in COMMANDS if " ablate " in line and "--plan" not in line]
    for line in lines:
        words = [str(README.parent / w) if w.startswith("results/") else w for w in line.split()]
        crbench(*words[1:], *QUICK["ablate"])
    assert lines and list(tmp_path.rglob("seed0/record.json"))


@pytest.mark.parametrize("line", REAL)
def test_real_sets_of_the_readme(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, real_data: Callable[[str], Path]
) -> None:
    monkeypatch.setenv("CRBENCH_CACHES", str(tmp_path))
    folders = {"landsat7-pan-ms": "landsat7_pan_ms_fusebox", "eurosat-wald": "eurosat_rgb_subset"}
    words = shlex.split(line)
    source = real_data(folders[words[3]])
    crbench(*[str(source) if word == "DIR" else word for word in words[1:]], "--quiet")
    assert f"({words[3]}" in crbench("cache", "info", words[3])
