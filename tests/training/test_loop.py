"""Training: what it writes, that it is deterministic, and that a kill costs nothing."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crbench import train
from crbench.errors import UserError
from crbench.evaluation.evaluate import evaluate
from crbench.files import read_jsonl, sha256_file
from crbench.run.folder import RunFolder
from crbench.training.shares import measured_steps

DATASET = "ben-14k-twin"


def short(cache: Path, out: Path, method: str = "cr-jepa", **options: object) -> Path:
    settings = {"scale": "tiny", "epochs": 2, "cache": cache, "out": out, "quiet": True}
    return train(method, DATASET, **(settings | options))  # type: ignore[arg-type]


def test_a_run_leaves_what_it_says(trained_run: Path) -> None:
    run = RunFolder(trained_run)
    info = run.finished()
    lines = read_jsonl(run.metrics)
    assert [line["epoch"] for line in lines] == [1, 2]
    assert info.epochs_done == 2
    assert info.steps == lines[-1]["step"]
    assert lines[-1]["loss"] == pytest.approx(info.final_terms["loss"])
    for shares in info.gradient_shares.values():
        assert shares.keys() == info.final_terms.keys() - {"loss", "grad_norm"}
        assert sum(shares.values()) == pytest.approx(1)
    assert not run.checkpoint.exists()


@pytest.mark.parametrize("method", ["cr-jepa", "x-jepa", "rejepa", "random", "band-stats", "cca"])
def test_twice_the_same_card_and_seed_give_equal_weights_and_scores(
    twin_cache: Path, tmp_path: Path, method: str
) -> None:
    outs = [short(twin_cache, tmp_path / str(i), method, epochs=1) for i in range(2)]
    records = [evaluate(out, quiet=True).model_dump(mode="json") for out in outs]
    assert sha256_file(outs[0] / "weights.safetensors") == sha256_file(
        outs[1] / "weights.safetensors"
    )
    assert json.dumps(records[0]["scores"]) == json.dumps(records[1]["scores"])
    assert set(records[0]["scores"]) == {"aa", "bb", "ab", "ba"}


def test_another_seed_gives_other_weights(trained_run: Path, other_seed: Path) -> None:
    assert sha256_file(other_seed / "weights.safetensors") != sha256_file(
        trained_run / "weights.safetensors"
    )


def test_training_moves_the_loss(twin_cache: Path, tmp_path: Path) -> None:
    out = short(twin_cache, tmp_path / "long", epochs=5)
    losses = [line["loss"] for line in read_jsonl(out / "metrics.jsonl")]
    assert losses[-1] < losses[0]


@pytest.mark.soak  # a kill inside the write of a checkpoint runs every time: test_soak.py
@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_run_goes_on_to_the_same_weights(
    twin_cache: Path, tmp_path: Path, sent: signal.Signals
) -> None:
    steps = ["train.batch_size=16"]  # six steps an epoch: it is killed inside one
    whole = short(twin_cache, tmp_path / "whole", epochs=3, overrides=steps)
    out = tmp_path / "killed"
    code = (
        "import crbench, sys; import crbench.training.loop as t; t.CHECKPOINT_EVERY_S = 0.0;"
        f"crbench.train('cr-jepa', '{DATASET}', scale='tiny', epochs=3, cache=sys.argv[1],"
        f"overrides={steps},"
        "out=sys.argv[2], quiet=True)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(twin_cache), str(out)], stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 120
        while not (out / "metrics.jsonl").exists() and time.monotonic() < deadline:
            time.sleep(0.005)
            assert process.poll() is None, "the run ended before it could be killed"
        os.kill(process.pid, sent)
        assert process.wait(timeout=60) != 0
    finally:
        process.kill()
    with pytest.raises(UserError, match="not finished"):
        evaluate(out, quiet=True)
    with pytest.raises(UserError, match="a run exists"):
        short(twin_cache, out, epochs=3, overrides=steps)
    short(twin_cache, out, epochs=3, overrides=steps, resume=True)
    assert sha256_file(out / "weights.safetensors") == sha256_file(whole / "weights.safetensors")
    drop = ("seconds", "pairs_per_s")
    logs = [
        [
            {k: v for k, v in line.items() if k not in drop}
            for line in read_jsonl(p / "metrics.jsonl")
        ]
        for p in (out, whole)
    ]
    assert [line["epoch"] for line in logs[0]] == [1, 2, 3]
    assert logs[0] == logs[1]


@pytest.mark.soak
def test_a_full_disk_at_the_end_is_one_message(twin_cache: Path, tmp_path: Path) -> None:
    code = (
        "import crbench, resource, sys; import crbench.training.loop as t\n"
        "from crbench.errors import UserError\n"
        "t.CHECKPOINT_EVERY_S = float(sys.argv[3])\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        f"run = lambda: crbench.train('cr-jepa', '{DATASET}', scale='tiny', epochs=1, quiet=True,"
        " cache=sys.argv[1], out=sys.argv[2])\n"
        "try: run()\n"
        "except UserError as error: print(error); sys.exit(2)\n"
    )
    for name, every in (("checkpoint.pt", "0"), ("weights", "1000")):
        out = tmp_path / name
        done = subprocess.run(
            [sys.executable, "-c", code, str(twin_cache), str(out), every],
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 2, done.stderr
        assert name in done.stdout
        assert not list(out.glob("*.tmp")) and not list(out.glob(".*.tmp"))


def test_a_run_stopped_after_its_last_step_keeps_its_final_terms(
    twin_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "injected")

    whole, out = short(twin_cache, tmp_path / "whole"), tmp_path / "stopped"
    monkeypatch.setattr("crbench.training.loop.CHECKPOINT_EVERY_S", 0.0)
    with monkeypatch.context() as disk, pytest.raises(OSError, match="injected"):
        disk.setattr("crbench.training.loop.save_weights", full)
        short(twin_cache, out)
    short(twin_cache, out, resume=True)
    infos = [RunFolder(path).finished() for path in (out, whole)]
    assert infos[0].final_terms and infos[0].final_terms == infos[1].final_terms
    shares = infos[0].gradient_shares
    assert [int(step) for step in shares] == list(measured_steps(infos[0].steps))
    assert shares == infos[1].gradient_shares
    assert sha256_file(out / "weights.safetensors") == sha256_file(whole / "weights.safetensors")
