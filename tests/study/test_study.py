"""Study cards: what they ask for, what is not run again, and what becomes of a run that fails."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from crbench.board.published import printed
from crbench.cards import load_dataset, load_method, names
from crbench.cli import app
from crbench.errors import UserError
from crbench.files import held, read_json
from crbench.records import read_record
from crbench.study.ablate import settled
from crbench.study.cards import STUDIES, Job, load_study, row_jobs, study_jobs
from crbench.study.launch import ClusterRun, RunTask, launch_slurm, note_exit
from crbench.study.shelf import Shelf

RESULTS = Path(__file__).resolve().parents[2] / "results"
TINY = ("table-s2a", "table-s2b", "table-3-mask", "table-s3", "table-s4", "table-s5")
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


def test_every_card_is_found_and_its_rows_resolve() -> None:
    expected = {"cost", "table-1", "table-2", "table-3-mask", "table-3-depth", "table-s2a"}
    expected |= {"table-s2b", "table-s3", "table-s4", "table-s5", "own-prediction"}
    assert set(names(STUDIES)) == expected
    for name in expected:
        study = load_study(name)
        assert study.name == name
        for row in study.rows:
            for scale in ("paper", "tiny"):
                load_method(row.method, scale=scale, overrides=row.set)


@pytest.mark.parametrize("name", sorted(set(names(STUDIES)) - {"cost", "own-prediction"}))
def test_each_row_finds_its_published_line(name: str) -> None:
    study = load_study(name)
    for row in study.rows:
        for dataset in study.datasets:
            found = printed(row.published or study.published, dataset, row.printed, row.name)
            metrics = {line.metric for line in found}
            assert len(found) == len(metrics)
            if not row.printed:  # floors, which no paper prints
                assert row.method in ("random", "band-stats", "cca") and not found
            else:
                assert metrics == ({"map", "p@5"} if name == "table-2" else metrics) and found
                assert all(line.values["ab"] for line in found)


def test_the_tables_of_the_twin_are_22_distinct_cards() -> None:
    found = {
        job.card.digest
        for name in TINY
        for job in study_jobs(load_study(name), "ben-14k-twin", "tiny", 1)
    }
    assert len(found) == 22


def test_runs_are_distinct_and_come_seed_by_seed() -> None:
    found = study_jobs(load_study("table-3-mask"), "ben-14k-twin", "tiny", 2)
    assert [(job.row[-4:], job.seed) for job in found] == [
        ("0.25", 0), ("0.50", 0), ("0.75", 0), ("0.25", 1), ("0.50", 1), ("0.75", 1),
    ]  # fmt: skip
    assert (
        len(study_jobs(load_study("table-1"), "ben-14k-twin", "tiny", 3)) == 4 * 3 + 2
    )  # closed forms


def test_overrides_reach_all_rows_but_the_floors() -> None:
    found = study_jobs(load_study("table-1"), "ben-14k-twin", "tiny", 1, ["train.epochs=3"])
    assert {job.row: job.card.train.epochs for job in found} == {
        "REJEPA": 3, "X-JEPA": 3, "CR-JEPA": 3, "random encoder": 0, "band statistics": 0, "CCA": 0,
    }  # fmt: skip


def _job(*overrides: str, seed: int = 0) -> Job:
    row = load_study("table-s2a").rows[-1]
    return row_jobs(row, "ben-14k-twin", "tiny", seed + 1, overrides)[seed]


def test_a_run_that_any_record_holds_is_there() -> None:
    card = load_dataset("ben-14k-twin")
    shelf = Shelf(card).fill([RESULTS / "records"])
    assert all(shelf.get(job) and shelf.path(job) for job in (_job(), _job(seed=2)))
    for job in (_job("loss.sig=0.021"), _job(seed=77)):
        assert shelf.get(job) is None and shelf.path(job) is None
    other = Shelf(card, cache_digest="0" * 64).fill([RESULTS / "records"])
    assert other.get(_job()) is None
    normalised = card.model_copy(update={"normalise": "published"})
    assert not Shelf(normalised).fill([RESULTS / "records"]).records


@pytest.mark.parametrize("changed", [{"finished": False}, {"checkpoint": "best"}])
def test_a_run_that_is_not_whole_is_to_run(tmp_path: Path, changed: dict[str, object]) -> None:
    card = load_dataset("ben-14k-twin")
    whole = Shelf(card).fill([RESULTS / "records"]).get(_job())
    assert whole is not None and whole.training is not None
    training = whole.training.model_copy(update=changed)
    for name, record in (
        ("whole", whole),
        ("part", whole.model_copy(update={"training": training})),
    ):
        path = tmp_path / name / "record.json"
        path.parent.mkdir()
        path.write_text(record.model_dump_json())
    for name, there in (("whole", True), ("part", False)):
        shelf = Shelf(card).fill([tmp_path / name])
        assert (shelf.get(_job()) is not None) == there


def test_a_bad_study_card_names_its_key(tmp_path: Path) -> None:
    path = tmp_path / "small.toml"
    path.write_text(STUDY.replace('reference = "plain"', 'reference = "plane"'))
    with pytest.raises(UserError, match="reference 'plane' is not among the rows"):
        load_study(str(path))
    path.write_text(STUDY.replace("question =", "qestion ="))
    with pytest.raises(UserError, match="unknown key 'qestion'"):
        load_study(str(path))


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


@pytest.mark.soak
def test_a_cluster_launcher_runs_tasks_and_reports_their_codes(
    twin_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through submitit's executor for this machine: a run that is made, and one that fails."""
    monkeypatch.chdir(tmp_path)
    told: list[tuple[str, str, int | None]] = []
    tasks = []
    for seed, scale in ((0, "tiny"), (1, "no-such-scale")):
        about = {
            "method": "band-stats", "scale": scale, "overrides": [], "dataset": "ben-14k-twin",
            "seed": seed, "out": f"run{seed}", "failure": f"failures/{seed}.json",
            "cache": str(twin_cache), "device": "cpu", "threads": 1, "parent": None,
        }  # fmt: skip
        tasks.append(RunTask(f"task {seed}", about, tmp_path / f"{seed}.log"))
    codes = launch_slurm(tasks, 2, lambda *event: told.append(event), cluster="local")
    assert codes == {"task 0": 0, "task 1": 2}
    assert {event for event in told if event[0]} == {
        *((name, "start", None) for name in codes),
        *((name, "end", code) for name, code in codes.items()),
    }
    assert read_record(tmp_path / "run0" / "record.json").method.name == "band-stats"
    assert not (tmp_path / "failures" / "0.json").exists()
    assert "unknown scale" in read_json(tmp_path / "failures" / "1.json")["what"]


def test_a_run_goes_on_in_another_job_when_the_time_of_one_is_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The signal that submitit has SLURM send: the process saves, and is queued and made again."""
    submitit = pytest.importorskip("submitit")
    monkeypatch.chdir(tmp_path)
    code = """
import os, pathlib, signal, sys, time
saved = pathlib.Path("saved")
if saved.exists():
    sys.exit(7)
def save(*_):
    saved.touch()
    sys.exit(130)
signal.signal(signal.SIGTERM, save)
pathlib.Path("new").write_text(str(os.getppid()))
os.replace("new", "job")
time.sleep(60)
"""
    executor = submitit.AutoExecutor(folder=tmp_path / "jobs", cluster="local")
    handle = executor.submit(ClusterRun(), [sys.executable, "-c", code])
    deadline = time.monotonic() + 60
    while not (tmp_path / "job").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.kill(int((tmp_path / "job").read_text()), signal.SIGUSR2)
    assert handle.result() == 7
    assert (tmp_path / "saved").exists()


def test_a_cluster_job_asks_for_more_than_minutes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is handed to ``sbatch``, by a program of that name."""
    monkeypatch.chdir(tmp_path)
    for name in ("srun", "sbatch"):
        (tmp_path / name).write_text('#!/bin/sh\ncp "$1" asked\nexit 1\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    task = RunTask("one", {"failure": "f.json"}, tmp_path / "log")
    for options, wanted in (({}, "--time=1440"), ({"timeout_min": "240"}, "--time=240")):
        with pytest.raises(UserError, match="cannot submit"):
            launch_slurm([task], 1, lambda *_: None, options=options)
        assert f"{wanted}\n" in (tmp_path / "asked").read_text()


def test_a_run_that_could_not_say_why_it_ended_is_a_failure_all_the_same(tmp_path: Path) -> None:
    failed = tmp_path / "failure.json"
    task = RunTask("one", {"failure": str(failed)}, tmp_path / "log")
    for code in (0, 130):  # made, or asked to stop
        note_exit(task, code)
        assert not failed.is_file()
    for code, said in ((-9, "killed by signal 9 (out of memory?)"), (3, "ended with exit code 3")):
        note_exit(task, code)
        assert read_json(failed)["what"] == said
        failed.unlink()


def test_a_begun_run_goes_on_with_its_own_threads(trained_run: Path, tmp_path: Path) -> None:
    job = _job()
    assert settled(job.folder(tmp_path), "auto", 7) == {"device": "auto", "threads": 7}
    shutil.copytree(trained_run, job.folder(tmp_path))
    threads = read_json(trained_run / "run.json")["threads"]
    assert settled(job.folder(tmp_path), "auto", threads + 7) == {
        "device": "cpu",
        "threads": threads,
    }


def test_runs_of_a_dataset_file_lie_under_its_name(tmp_path: Path) -> None:
    card = tmp_path / "mine.toml"
    card.write_text('extends = "ben-14k"\nname = "mine"\n')
    (job,) = row_jobs(load_study("table-s2a").rows[0], str(card), "tiny", 1)
    assert job.dataset == str(card)
    assert job.folder() == Path("runs/ablations/mine") / job.label / "seed0"


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


def test_a_cluster_that_is_not_there_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    task = RunTask("one", {"failure": "f.json"}, tmp_path / "log")
    with pytest.raises(UserError, match="cannot submit"):
        launch_slurm([task], 1, lambda *_: None)


def test_a_folder_is_held_by_one_process(tmp_path: Path) -> None:
    code = "import sys, time; from crbench.files import held\n"
    code += "with held(sys.argv[1]): print('held', flush=True); time.sleep(60)"
    environment = os.environ | {"PYTHONPATH": str(RESULTS.parent)}
    other = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, env=environment
    )
    try:
        assert other.stdout is not None and other.stdout.readline() == b"held\n"
        with pytest.raises(UserError, match="another process"), held(tmp_path):
            pass
    finally:
        other.kill()
        other.wait()
    with held(tmp_path):
        pass
