"""crbench ablate: from missing runs to the page, and what becomes of a run that fails."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from crbench.cli import app

RESULTS = Path(__file__).resolve().parents[2] / "results"
Crbench = Callable[..., Result]
Refused = Callable[..., None]
STUDY = """
name = "small"
title = "Two rows and one that fails"
table = "Table 0"
question = "Does a failed row stop the others?"
datasets = ["ben-14k"]
published = "table-s2a.csv"
reference = "plain"

[[rows]]
name = "plain"
printed = { pred = "1", cross = "1", uni = "1", sigreg = "1" }

[[rows]]
name = "blown up"
set = ["train.lr=1e30", "train.lr_start=1e30", "train.clip=1e30"]

[[rows]]
name = "plain again"
set = ["loss.sig=0.02"]

[[rows]]
name = "other"
set = ["loss.uni=0.0"]
"""


def _command(cache: Path, *more: str) -> list[str]:
    words = ["ablate", "small.toml", "--dataset", "ben-14k-twin", "--scale", "tiny", "--seeds", "1"]
    words += ["--set", "train.epochs=2", "--set", "train.batch_size=32", "--cache", str(cache)]
    return [sys.executable, "-m", "crbench", *words, "--threads", "1", "--out", "out", *more]


@pytest.mark.soak
def test_a_study_killed_in_the_middle_goes_on_and_a_failed_row_stops_no_other(
    twin_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "small.toml").write_text(STUDY)
    environment = os.environ | {"PYTHONPATH": str(RESULTS.parent), "COLUMNS": "200"}
    command = _command(twin_cache)
    first = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    runs = tmp_path / "runs" / "ablations" / "ben-14k-twin"
    deadline = time.monotonic() + 90
    while not list(runs.glob("*/seed0/record.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.wait()
    (made,) = runs.glob("*/seed0/record.json")
    before = made.stat().st_mtime_ns

    done = subprocess.run(
        [*command, "--json"], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1, done.stderr  # a row failed
    assert made.stat().st_mtime_ns == before, "a finished run was made again"
    rows = {row["name"]: row for row in json.loads(done.stdout)["rows"]}
    assert "not finite" in rows["blown up"]["problem"]
    assert not rows["plain"]["problem"] and not rows["other"]["problem"]
    assert rows["plain again"]["runs"] == rows["plain"]["runs"], "an equal card is one run"
    page = (tmp_path / "out" / "small.md").read_text()
    assert "seed 0 failed" in page
    assert len(list((tmp_path / "out" / "records").glob("*.json"))) == 2
    assert (tmp_path / "out" / "small.png").stat().st_size > 10_000
    monkeypatch.chdir(tmp_path)
    words = command[command.index("ablate") :]
    again = CliRunner().invoke(app, [*words, "--table", "--json"])
    assert again.exit_code == 0 and json.loads(again.stdout) == json.loads(done.stdout)
    plan = CliRunner().invoke(app, [*words, "--plan", "--json"])
    lines = {line["row"]: line for line in json.loads(plan.stdout)}
    assert [(line["there"], line["to_run"]) for line in lines.values()] == [(1, 0), (0, 1), (1, 0)]
    assert lines["blown up"]["epoch_s"] > 0 and "measured" in lines["blown up"]["source"]
    assert "its record" in lines["plain"]["source"]
    more = CliRunner().invoke(app, [*words, "--plan", "--json", "--seeds", "2"])
    lines = {line["row"]: line for line in json.loads(more.stdout)}
    # what a seed more takes is measured here: the record may be of another machine
    assert (lines["plain"]["there"], lines["plain"]["to_run"]) == (1, 1)
    assert "measured" in lines["plain"]["source"]


def test_a_table_does_not_replace_one_of_another_scale(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    page = tmp_path / "results" / "ablations" / "ben-14k-twin" / "table-s5.md"
    page.parent.mkdir(parents=True)
    source = RESULTS / "ablations" / "ben-14k-twin"
    shutil.copytree(source / "records", page.parent / "records")
    page.write_bytes((source / "table-s5.md").read_bytes())
    words = ["ablate", "table-s5", "--dataset", "ben-14k-twin", "--table"]
    for more in ([], ["--scale", "tiny", "--set", "loss.temperature=0.05"]):
        result = CliRunner().invoke(app, [*words, *more])
        assert result.exit_code == 2
        assert "made with another scale or other keys" in result.output + result.stderr
    assert page.read_bytes() == (source / "table-s5.md").read_bytes()
    assert CliRunner().invoke(app, [*words, "--scale", "tiny"]).exit_code == 0


def test_a_profile_has_no_runs_to_plan(crbench: Crbench, refused: Refused, tmp_path: Path) -> None:
    for option in ("--plan", "--table"):
        refused(crbench("ablate", "cost", option), "is measured at once", f"where: {option}")
    refused(crbench("ablate", "table-s5", "--slurm", "fast"), "parameters: fast", "key=value")
    refused(crbench("ablate", "table-s55"), "unknown study 'table-s55'", "did you mean 'table-s5'")
    assert list(tmp_path.iterdir()) == []


def test_a_plan_without_a_cache_counts_what_is_there(crbench: Crbench, tmp_path: Path) -> None:
    source = RESULTS / "ablations" / "ben-14k-twin" / "records"
    shutil.copytree(source, tmp_path / "out" / "records")
    words = ("ablate", "table-s5", "--dataset", "ben-14k-twin", "--scale", "tiny", "--out", "out")
    lines = json.loads(crbench(*words, "--plan", "--json", "--seeds", 4).output)
    assert [(line["row"], line["there"], line["to_run"]) for line in lines] == [
        ("shared trunk", 0, 4), ("separate trunks", 3, 1),
    ]  # fmt: skip
    assert lines[0]["source"] == "no cache here to measure with" and lines[0]["epoch_s"] is None
    printed = crbench(*words, "--plan").output
    assert "3 runs to make, 3 there. Their time is not known here" in printed
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_table_is_printed_and_written(crbench: Crbench, tmp_path: Path) -> None:
    shutil.copytree(RESULTS / "records", tmp_path / "results" / "records")
    words = ("ablate", "table-s5", "--dataset", "ben-14k-twin", "--scale", "tiny", "--out", "out")
    printed = crbench(*words, "--table").output
    files = [f"out/table-s5.{suffix}" for suffix in ("md", "csv", "png")]
    assert printed.endswith(f"written: {', '.join(files)}\n")
    page = (tmp_path / "out" / "table-s5.md").read_text(encoding="utf-8")
    assert "77.9 ± 0.2" in printed and "77.9 ± 0.2" in page
    assert "seed 0, 1, 2 not run" in printed
    (row, other) = json.loads(crbench(*words, "--table", "--json").output)["rows"]
    assert row["problem"] is None and len(row["runs"]) == 3 and other["runs"] == []
