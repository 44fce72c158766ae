"""Long runs of what `make test` does a few times: ten kills, and the same weights after all."""

import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from crbench.files import read_jsonl, sha256_file
from crbench.runs.train import train

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1500)]

CODE = """
import sys
import crbench.runs.train as t
t.CHECKPOINT_EVERY_S = 0.2
t.train("cr-jepa", "ben-14k-twin", scale="tiny", epochs=40, overrides=["train.batch_size=16"],
        cache=sys.argv[1], out=sys.argv[2], resume=True, quiet=True)
"""


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_ten_kills_at_random_moments_cost_nothing(
    twin_cache: Path, tmp_path: Path, sent: signal.Signals
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "killed"
    train(
        "cr-jepa", "ben-14k-twin", scale="tiny", epochs=40, overrides=["train.batch_size=16"],
        cache=twin_cache, out=whole, quiet=True,
    )  # fmt: skip
    chance, kills = random.Random(0), 0
    while kills < 10:
        command = [sys.executable, "-c", CODE, str(twin_cache), str(out)]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            process.wait(timeout=chance.uniform(2.0, 8.0))
            break  # it ended between two kills
        except subprocess.TimeoutExpired:
            process.send_signal(sent)
            process.wait(timeout=60)
            kills += 1
    assert kills >= 2, "too few kills to show anything"
    train(
        "cr-jepa", "ben-14k-twin", scale="tiny", epochs=40, overrides=["train.batch_size=16"],
        cache=twin_cache, out=out, resume=True, quiet=True,
    )  # fmt: skip
    assert sha256_file(out / "weights.safetensors") == sha256_file(whole / "weights.safetensors")
    assert [line["epoch"] for line in read_jsonl(out / "metrics.jsonl")] == list(range(1, 41))
