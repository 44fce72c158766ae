"""scripts/slurm/train.sh: out of time or preempted, it saves, queues itself again and goes on.

The script, torchrun and the training are real; SLURM's own commands are small stand-ins.
"""

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

from crbench.files import read_jsonl
from crbench.run.folder import RunFolder

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "slurm" / "train.sh"
COMMANDS = {
    "srun": 'while [[ "$1" == --* ]]; do shift; done\n"$@" &\n'
    'echo $! > "$HERE/step.tmp"; mv "$HERE/step.tmp" "$HERE/step"\nwait $!',
    # every process of the step: torchrun, and its workers, whom torchrun tells once more
    "scancel": 'tree() { echo "$1"; for child in $(pgrep -P "$1"); do tree "$child"; done; }\n'
    'kill -TERM $(tree "$(cat "$HERE/step")")',
    "scontrol": 'case "$1" in show) echo localhost;; requeue) echo "$2" >> "$HERE/queued";; esac',
    "python": f'exec "{sys.executable}" "$@"',
}


@pytest.fixture
def cluster(tmp_path: Path) -> dict[str, str]:
    """The environment of a batch script on a cluster of one node."""
    here = tmp_path / "cluster"
    here.mkdir()
    for name, body in COMMANDS.items():
        (here / name).write_text(f"#!/bin/bash\n{body}\n")
        (here / name).chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{here}:{os.environ['PATH']}",
        "HERE": str(here),
        "OMP_NUM_THREADS": "1",
        "SLURM_JOB_ID": str(free_port() - 20_000),  # the script's port follows from it
        "SLURM_JOB_NODELIST": "node[1]",
        "SLURM_JOB_NUM_NODES": "1",
    }


def free_port() -> int:
    for port in range(20_000, 40_000):
        with socket.socket() as found:
            if found.connect_ex(("127.0.0.1", port)):
                return port
    raise AssertionError("no free port")


def submit(words: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["bash", str(SCRIPT), *words], env=environment, text=True, stderr=subprocess.PIPE
    )


def stopped_by(
    sent: signal.Signals, words: list[str], environment: dict[str, str], out: Path
) -> int:
    """Start the job, signal its script after some epochs; the step of the checkpoint it leaves."""
    log = out / "metrics.jsonl"
    before = len(read_jsonl(log)) if log.exists() else 0
    job = submit(words, environment)
    try:
        deadline = time.monotonic() + 120
        while not log.exists() or len(read_jsonl(log)) < before + 2:
            assert job.poll() is None and time.monotonic() < deadline, "it does not train"
            time.sleep(0.05)
        job.send_signal(sent)
        _, said = job.communicate(timeout=100)
    finally:
        job.kill()
    assert job.returncode == 0, said
    assert f"{sent.name}: the ranks save and stop" in said
    assert not list(out.glob(".*"))
    state = torch.load(RunFolder(out).checkpoint, weights_only=True)
    return int(state["position"]["step"])


@pytest.mark.soak
def test_a_job_that_is_stopped_saves_and_is_queued_again(
    twin_cache: Path, tmp_path: Path, cluster: dict[str, str]
) -> None:
    out = tmp_path / "run"
    words = ["cr-jepa", "ben-14k-twin", "--scale", "tiny", "--epochs", "9999", "--quiet"]
    words += ["--set", "train.batch_size=16", "--cache", str(twin_cache), "--out", str(out)]
    environment = cluster | {"RANKS_PER_NODE": "2"}
    first = stopped_by(signal.SIGUSR1, words, environment, out)
    second = stopped_by(signal.SIGTERM, words, environment, out)
    assert 0 < first < second  # the checkpoints are of the stops: none is due in half a minute
    queued = (Path(cluster["HERE"]) / "queued").read_text().split()
    assert queued == [cluster["SLURM_JOB_ID"]] * 2
    epochs = [line["epoch"] for line in read_jsonl(out / "metrics.jsonl")]
    assert epochs == list(range(1, len(epochs) + 1))


@pytest.mark.soak
def test_a_job_that_fails_is_not_queued_again(cluster: dict[str, str]) -> None:
    job = submit(["cr-jepa", "no-such-set", "--quiet"], cluster)
    _, said = job.communicate(timeout=120)
    assert job.returncode != 0 and "no-such-set" in said
    assert not (Path(cluster["HERE"]) / "queued").exists()
    usage = submit(["cr-jepa"], cluster)
    assert "usage: sbatch" in usage.communicate(timeout=60)[1] and usage.returncode == 2
