"""From a committed record back to its commands, and to the same scores."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crbench import train
from crbench.cli import app
from crbench.cli.reproduce import outcome_data
from crbench.evaluation.evaluate import evaluate
from crbench.files import write_json
from crbench.records import read_record
from crbench.study.reproduce import Outcome

ROOT = Path(__file__).resolve().parents[2]
RECORDS = ROOT / "results" / "records"
TRAINED = RECORDS / "ben-14k-twin-2" / "cr-jepa" / "cr-jepa-tiny-seed0.json"
COMMANDS = [
    "crbench cache build ben-14k-twin-2",
    "crbench train cr-jepa ben-14k-twin-2 --scale tiny --seed 0 --device cpu --threads 1 "
    "--out runs/again/ben-14k-twin-2/cr-jepa-tiny-seed0-7616b1d5",
    "crbench evaluate runs/again/ben-14k-twin-2/cr-jepa-tiny-seed0-7616b1d5 "
    "--protocol leave-one-out --device cpu",
]
UNTRAINED = RECORDS / "ben-14k-twin-2" / "random" / "random-tiny-seed1.json"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to work in, whose cache of the twin is built once."""
    return tmp_path_factory.mktemp("reproduce")


@pytest.fixture(scope="module")
def small(place: Path, twin_cache: Path) -> Path:
    """A record of an untrained encoder on the small twin, whose commands build that twin too."""
    run = place / "small"
    train("random", "ben-14k-twin", scale="tiny", cache=twin_cache, out=run, threads=1, quiet=True)
    evaluate(run, device="cpu", quiet=True)
    return run / "record.json"


def reproduce(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """``crbench reproduce`` as a user in the folder ``place`` calls it."""
    environment = os.environ | {"CRBENCH_CACHES": str(place / "caches"), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "crbench", "reproduce", *words],
        cwd=place, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.mark.soak
@pytest.mark.timeout(600)
def test_a_trained_record_of_the_board_comes_out_again(place: Path) -> None:
    """Two minutes: the command of the README, from nothing to the board's own numbers."""
    done = reproduce(place, str(TRAINED), "--run", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["within_tolerance"] and found["largest_difference_points"] <= 0.5
    assert {line["direction"] for line in found["scores"]} == {"aa", "bb", "ab", "ba"}
    again, record = read_record(place / found["record"]), read_record(TRAINED)
    assert again.dataset.cache_digest == record.dataset.cache_digest
    assert again.method.digest == record.method.digest
    assert again.training is not None and record.training is not None
    assert again.training.steps == record.training.steps > 100
    for line in found["scores"]:  # what is printed is what stands in the two files
        assert line["recorded"] == record.scores[line["direction"]][line["metric"]].value
        assert line["measured"] == again.scores[line["direction"]][line["metric"]].value
    for line in COMMANDS:
        assert f"$ {line}" in done.stderr


@pytest.mark.soak
def test_a_wrong_number_in_a_record_is_found(place: Path, small: Path) -> None:
    """The same run, held against a record whose S1→S2 was made three points better."""
    data = json.loads(small.read_text(encoding="utf-8"))
    data["scores"]["ab"]["f1_item@5"]["value"] += 0.03
    write_json(place / "wrong.json", data)
    honest = reproduce(place, str(small), "--run")
    assert honest.returncode == 0, honest.stderr
    assert "S1→S2" in honest.stdout
    wrong = reproduce(place, "wrong.json", "--run", "--quiet")  # the run is there: it goes on
    assert wrong.returncode == 1, wrong.stderr
    assert "differ by up to" in wrong.stdout and wrong.stderr == ""
    record = read_record(place / "wrong.json")
    outcome = Outcome(record, read_record(small), small)
    assert outcome_data(outcome, 4.0)["within_tolerance"]
    assert not outcome_data(outcome, 2.0)["within_tolerance"]


@pytest.mark.soak
def test_another_cache_is_no_reproduction(place: Path, small: Path) -> None:
    data = json.loads(small.read_text(encoding="utf-8"))
    data["dataset"]["cache_digest"] = "0" * 64
    write_json(place / "other.json", data)
    done = reproduce(place, "other.json", "--run", "--quiet")
    assert done.returncode == 2 and "the cache holds other images" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_commands_are_printed() -> None:
    result = CliRunner().invoke(app, ["reproduce", str(TRAINED)])
    assert result.exit_code == 0
    assert result.stdout.splitlines() == COMMANDS
    asked = CliRunner().invoke(app, ["reproduce", str(TRAINED), "--json"])
    assert json.loads(asked.stdout)["commands"] == COMMANDS


def test_what_cannot_be_made_again_says_why(tmp_path: Path) -> None:
    real = RECORDS / "landsat7-pan-ms" / "random" / "random-tiny-seed0.json"
    printed = CliRunner().invoke(app, ["reproduce", str(real)])
    assert "--source DIR" in printed.stdout and "DIR holds the images" in printed.stderr
    foreign = json.loads(TRAINED.read_text(encoding="utf-8")) | {"training": None}
    write_json(tmp_path / "foreign.json", foreign)
    for words, what in (
        ([str(real), "--run"], "is built from images that are not here"),
        ([str(tmp_path / "foreign.json")], "no command of this installation"),
        ([str(tmp_path / "foreign.json"), "--run"], "no command of this installation"),
        ([str(tmp_path / "none.json")], "no such record"),
        ([str(TRAINED), "--source", "x"], "--source goes with --run"),
        ([str(TRAINED), "--tolerance", "0"], "--tolerance goes with --run"),
    ):
        result = CliRunner().invoke(app, ["reproduce", *words])
        assert result.exit_code == 2 and what in result.stderr, result.stderr


def test_a_strangers_record_runs_and_writes_nothing(tmp_path: Path) -> None:
    """Each ends with a sentence before anything is built, and a ``numpy.py`` here never runs."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "numpy.py").write_text("open('ran', 'w')\n")
    (tmp_path / "here" / "evil.toml").write_text('name = "evil.toml"\n')
    changes = (
        ("run", "../../../x"),
        ("name", "--help"),
        ("name", "evil.toml"),
        ("class", "numpy:run"),
    )
    for number, (field, value) in enumerate(changes):
        data = json.loads(UNTRAINED.read_text(encoding="utf-8"))
        if field == "class":
            data["method"]["card"]["class"] = value
        elif field == "name":
            data["method"]["name"] = data["method"]["card"]["name"] = value
        else:
            data[field] = value
        write_json(tmp_path / f"{number}.json", data)
    code = """
import sys
from typer.testing import CliRunner
from crbench.cli import app
for record in sys.argv[1:]:
    result = CliRunner().invoke(app, ["reproduce", record, "--run"])
    print(result.exit_code, " ".join(result.stderr.split()))
"""
    records = [f"../{number}.json" for number in range(4)]
    done = subprocess.run(  # -P, as the installed script: no working folder on the path
        [sys.executable, "-P", "-c", code, *records],
        cwd=tmp_path / "here", env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert len(lines) == 4 and all(line.startswith("2 error: ") for line in lines), done.stdout
    assert all("no plain name" in line or "method.card" in line for line in lines)
    left = {path.name for path in tmp_path.rglob("*")}
    assert left == {"here", "numpy.py", "evil.toml", *(f"{number}.json" for number in range(4))}


def test_a_command_that_fails_is_named(tmp_path: Path) -> None:
    real = RECORDS / "landsat7-pan-ms" / "random" / "random-tiny-seed0.json"
    done = reproduce(tmp_path, str(real), "--run", "--source", "nowhere")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "this command ended with exit code 2" in done.stderr
    assert "where: crbench cache build landsat7-pan-ms --source nowhere" in done.stderr


def test_json_of_a_missing_score_is_strict() -> None:
    record = read_record(TRAINED)
    again = record.model_copy(deep=True)
    del again.scores["ab"]
    data = outcome_data(Outcome(record, again, TRAINED), 0.5)
    assert data["largest_difference_points"] is None and not data["within_tolerance"]
    json.dumps(data, allow_nan=False)
