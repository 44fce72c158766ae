"""Training by torchrun: one model, one writer; ranks stop together, and none waits for ever."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from crbench import train
from crbench.files import read_jsonl
from crbench.run.folder import RunFolder

STEPS = ["train.batch_size=16"]
CODE = (
    "import crbench.training.loop as t; t.CHECKPOINT_EVERY_S = 0.0;"
    "from crbench.cli import main; main()"
)


def environment(**more: str) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "CRBENCH_RANK_TIMEOUT_S": "60", **more}


def arguments(cache: Path, out: Path, epochs: int) -> list[str]:
    words = ["train", "cr-jepa", "ben-14k-twin", "--scale", "tiny", "--epochs", str(epochs)]
    words += ["--set", *STEPS, "--cache", str(cache), "--out", str(out)]
    return [*words, "--threads", "1", "--quiet"]


def free_port() -> str:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def members(words: list[str]) -> list[subprocess.Popen[str]]:
    """Two ranks as torchrun would start them, without the keeper that kills them itself."""
    place = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    return [
        subprocess.Popen(
            [sys.executable, "-c", CODE, *words],
            env=environment(**place, RANK=str(rank), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE="2"),
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]


def until_checkpoint(out: Path, ranks: list[subprocess.Popen[str]]) -> None:
    deadline = time.monotonic() + 120
    while not RunFolder(out).checkpoint.exists():
        assert time.monotonic() < deadline, "no checkpoint came"
        assert all(rank.poll() is None for rank in ranks), "a rank ended too early"
        time.sleep(0.01)


def epochs(out: Path) -> list[int]:
    log = out / "metrics.jsonl"
    return [line["epoch"] for line in read_jsonl(log)] if log.is_file() else []


def close_to(out: Path, other: Path) -> None:
    """Weights equal to what rounding in another order makes of them in a few steps."""
    ours, theirs = (load_file(path / "weights.safetensors") for path in (out, other))
    assert ours.keys() == theirs.keys()
    for key, value in ours.items():
        torch.testing.assert_close(value, theirs[key], rtol=1e-3, atol=1e-4)


@pytest.fixture(scope="module")
def alone(twin_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes of two epochs."""
    out = tmp_path_factory.mktemp("alone") / "run"
    return train(
        "cr-jepa", "ben-14k-twin", scale="tiny", epochs=2, overrides=STEPS, cache=twin_cache,
        out=out, quiet=True, threads=1,
    )  # fmt: skip


@pytest.mark.soak
def test_torchrun_trains_the_model_of_one_process(
    twin_cache: Path, alone: Path, tmp_path: Path
) -> None:
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    start += ["--master-port", free_port(), "-m", "crbench"]
    words = arguments(twin_cache, tmp_path / "two", 2)
    done = subprocess.run(
        start + words, capture_output=True, text=True, timeout=280, env=environment()
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [str(tmp_path / "two")]  # one rank speaks
    assert RunFolder(tmp_path / "two").finished().ranks == 2
    close_to(tmp_path / "two", alone)
    drop = {"seconds", "pairs_per_s"}
    for one, two in zip(
        *(read_jsonl(p / "metrics.jsonl") for p in (alone, tmp_path / "two")), strict=True
    ):
        assert one.keys() == two.keys()
        for key in one.keys() - drop:  # terms of the whole batch, not of a rank's share
            assert two[key] == pytest.approx(one[key], rel=1e-3)


@pytest.mark.soak
def test_a_signal_to_one_rank_stops_all_and_all_go_on(twin_cache: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    ranks = members(arguments(twin_cache, out, 300))
    try:
        until_checkpoint(out, ranks)
        ranks[1].send_signal(signal.SIGTERM)
        ranks[1].send_signal(signal.SIGTERM)  # as from the cluster and from torchrun
        for rank in ranks:
            _, said = rank.communicate(timeout=100)
            assert rank.returncode == 130, said
    finally:
        for rank in ranks:
            rank.kill()
    assert not RunFolder(out).read().finished
    assert not list(out.glob(".*"))
    again = members([*arguments(twin_cache, out, 300), "--resume"])
    try:
        done = len(epochs(out))
        deadline = time.monotonic() + 120
        while len(epochs(out)) < done + 2:
            assert time.monotonic() < deadline, "it does not go on"
            time.sleep(0.05)
    finally:
        for rank in again:
            rank.kill()
            rank.communicate()
    assert epochs(out) == list(range(1, len(epochs(out)) + 1))


@pytest.mark.soak
def test_a_rank_alone_under_torchrun_is_signalled_twice_and_saves(
    twin_cache: Path, tmp_path: Path
) -> None:
    """The cluster signals torchrun and its rank, and torchrun the rank once more."""
    out = tmp_path / "run"
    slow = "import time; import crbench.training.step as s; real = s.Stepper.__call__\n"
    slow += "s.Stepper.__call__ = lambda *words: (time.sleep(1), real(*words))[1]\n"
    rank = subprocess.Popen(
        [sys.executable, "-c", slow + CODE, *arguments(twin_cache, out, 300)],
        env=environment(TORCHELASTIC_RUN_ID="1", WORLD_SIZE="1"),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        until_checkpoint(out, [rank])
        time.sleep(0.2)  # inside a step
        for _ in range(2):
            rank.send_signal(signal.SIGTERM)
            time.sleep(0.1)  # the first was heard
        _, said = rank.communicate(timeout=100)
    finally:
        rank.kill()
    assert rank.returncode == 130, said
    assert "stopped at step" in said or "--resume" in said


@pytest.mark.parametrize("dies", [0, pytest.param(1, marks=pytest.mark.soak)])
def test_a_rank_that_dies_ends_the_other_by_name(
    twin_cache: Path, tmp_path: Path, dies: int
) -> None:
    out = tmp_path / "run"
    ranks = members(arguments(twin_cache, out, 300))
    try:
        until_checkpoint(out, ranks)
        ranks[dies].send_signal(signal.SIGKILL)
        _, said = ranks[1 - dies].communicate(timeout=100)
    finally:
        for rank in ranks:
            rank.kill()
    assert ranks[1 - dies].returncode == 2, said
    assert f"rank {1 - dies} of 2 lost another rank while training" in said
    assert "the last checkpoint stands" in said
    assert "Traceback" not in said
    torch.load(RunFolder(out).checkpoint, weights_only=True)
