"""Kills, also inside the write of a checkpoint: the same weights after all, and nothing left over.

One in `make test`, twenty at random moments in `make soak`.
"""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crbench import train
from crbench.files import read_jsonl, sha256_file
from crbench.run.folder import Options

STEPS = ["train.batch_size=16"]  # six an epoch
STAGES = ("write", "fsync", "rename", "number")

# Trains on; at its nth checkpoint it kills itself: with some of the bytes written, with all of them
# but before fsync, before the rename, or after it and before the numbered name.
CHILD = """
import os, signal, sys
import crbench.training.checkpoint as c
import crbench
import crbench.training.loop as t
from crbench.run.folder import Options

cache, out, epochs, stage, nth = sys.argv[1:]
left, armed = int(nth), False
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
def armed_at(name, real):
    return lambda *words, **named: die() if armed and stage == name else real(*words, **named)
def write(sealing, data, real=c._Sealing.write):
    done = real(sealing, data)
    if armed and stage == "write" and sealing.handle.tell() > 100_000:
        sealing.handle.flush()
        die()
    return done
def save(*words, real=c.save_state):
    global left, armed
    left -= 1
    armed = left == 0
    real(*words)
c._Sealing.write, t.save_state, t.CHECKPOINT_EVERY_S = write, save, 0.0
os.fsync, os.replace = armed_at("fsync", os.fsync), armed_at("rename", os.replace)
os.link = armed_at("number", os.link)
crbench.train("cr-jepa", "ben-14k-twin", scale="tiny", epochs=int(epochs), overrides=STEPS,
              cache=cache, out=out, resume=True, quiet=True, options=Options(keep_last=2))
""".replace("STEPS", repr(STEPS))


def go(cache: Path, out: Path, epochs: int) -> Path:
    return train(
        "cr-jepa", "ben-14k-twin", scale="tiny", epochs=epochs, overrides=STEPS, cache=cache,
        out=out, quiet=True, resume=True, options=Options(keep_last=2),
    )  # fmt: skip


def child(cache: Path, out: Path, epochs: int, stage: str, nth: int) -> subprocess.Popen[bytes]:
    words = [str(cache), str(out), str(epochs), stage, str(nth)]
    return subprocess.Popen([sys.executable, "-c", CHILD, *words], stderr=subprocess.DEVNULL)


def same(out: Path, whole: Path, epochs: int) -> None:
    """Equal weights, every epoch logged once and alike, no temporary file and no checkpoint."""
    assert sha256_file(out / "weights.safetensors") == sha256_file(whole / "weights.safetensors")
    losses = [[line["loss"] for line in read_jsonl(p / "metrics.jsonl")] for p in (out, whole)]
    assert len(losses[0]) == epochs and losses[0] == losses[1]
    assert {p.name for p in out.iterdir()} == {"run.json", "metrics.jsonl", "weights.safetensors"}


@pytest.fixture(scope="module")
def short(twin_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return go(twin_cache, tmp_path_factory.mktemp("whole") / "short", 2)


@pytest.mark.parametrize(
    "stage", [*(pytest.param(stage, marks=pytest.mark.soak) for stage in STAGES[:3]), STAGES[3]]
)
def test_a_kill_inside_the_write_of_a_checkpoint_costs_nothing(
    twin_cache: Path, short: Path, tmp_path: Path, stage: str
) -> None:
    process = child(twin_cache, tmp_path, 2, stage, 5)
    assert process.wait(timeout=200) == -9
    left = {path.name for path in tmp_path.iterdir()}
    assert any(name.endswith(".tmp") for name in left) == (stage != "number")
    assert "checkpoint.pt" in left
    go(twin_cache, tmp_path, 2)
    same(tmp_path, short, 2)


@pytest.mark.soak
@pytest.mark.timeout(3000)
def test_twenty_kills_at_random_moments_cost_nothing(twin_cache: Path, tmp_path: Path) -> None:
    epochs, chance = 100, random.Random(0)
    whole, out = go(twin_cache, tmp_path / "whole", epochs), tmp_path / "killed"
    checkpoint = out / "checkpoint.pt"
    for kill in range(20):
        inside = kill % 2 == 0
        stage = STAGES[kill // 2 % len(STAGES)] if inside else "never"
        before = checkpoint.stat().st_mtime_ns if checkpoint.exists() else 0
        process = child(twin_cache, out, epochs, stage, chance.randint(1, 12))
        try:
            if inside:
                assert process.wait(timeout=200) == -9, f"kill {kill} did not happen"
                continue
            deadline = time.monotonic() + 200
            while not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.01)
            time.sleep(chance.uniform(0.0, 0.5))
            assert process.poll() is None, "it ended before it could be killed"
        finally:
            process.kill()
            process.wait()
    go(twin_cache, out, epochs)
    same(out, whole, epochs)
