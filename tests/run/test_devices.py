"""Several ranks come to one rank's record; a rank that dies or hangs ends the others by name."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crbench.errors import UserError
from crbench.evaluation.evaluate import evaluate
from crbench.run.devices import Ranks, joined

sys.path.insert(0, str(Path(__file__).parents[1] / "oracles"))

# all but when, how fast and on what
SAME = ("scores", "chance", "per_class", "counts", "health", "collapsed", "digests", "protocol")


@pytest.mark.soak
def test_two_ranks_write_the_record_of_one(trained_run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(trained_run, copy)
    for left in ("embeddings.h5", "record.json"):
        (copy / left).unlink(missing_ok=True)
    start = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    start += ["--master-port", str(free_port()), "-m", "crbench", "evaluate", str(copy), "--json"]
    done = subprocess.run(start, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    two = json.loads((copy / "record.json").read_text())
    assert json.loads(done.stdout) == two  # one rank speaks
    assert two["devices"]["score"] == "cpu, 2 ranks"
    evaluate(copy, out=tmp_path / "one.json", quiet=True)
    one = json.loads((tmp_path / "one.json").read_text())
    for key in SAME:
        assert json.dumps(two[key]) == json.dumps(one[key]), key


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


_MEMBER = """
import os, sys, time
import numpy as np
from crbench.errors import UserError
from crbench.run.devices import joined
try:
    with joined() as ranks:
        ranks.total(np.ones(3))
        print("together", flush=True)
        if ranks.rank == 1:
            {fate}
        {step}
except UserError as error:
    print(error)
    sys.exit(2)
"""


def members(fate: str, step: str, seconds: int) -> list[subprocess.Popen]:
    environment = dict(
        os.environ, WORLD_SIZE="2", MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free_port()),
        CRBENCH_RANK_TIMEOUT_S=str(seconds),
    )  # fmt: skip
    code = _MEMBER.format(fate=fate, step=step)
    return [
        subprocess.Popen(
            [sys.executable, "-c", code],
            env=environment | {"RANK": str(rank)},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]


@pytest.mark.parametrize(
    "step",
    ["ranks.total(np.ones(3))", pytest.param("ranks.wait('waiting')", marks=pytest.mark.soak)],
)
def test_a_rank_that_dies_ends_the_other_with_a_named_error(step: str) -> None:
    first, second = members("os._exit(7)", step, 60)
    said, _ = first.communicate(timeout=120)
    assert second.wait(timeout=60) == 7
    second.stdout.close()
    assert first.returncode == 2
    assert "rank 0 of 2 lost another rank" in said
    assert "nothing was written" in said


def test_a_rank_that_hangs_ends_the_other_in_time() -> None:
    first, second = members("time.sleep(300)", "ranks.wait('waiting')", 4)
    start = time.monotonic()
    said, _ = first.communicate(timeout=120)
    second.send_signal(signal.SIGKILL)
    second.communicate()
    assert first.returncode == 2
    assert time.monotonic() - start < 100
    assert "rank 0 of 2 lost another rank while waiting" in said


def test_alone_nothing_is_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    with joined() as ranks:
        assert (ranks.rank, ranks.size, ranks.first) == (0, 1, True)
        ranks.wait("anything")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="no torchrun: RANK"), joined():
        pass


def test_an_approximate_search_refuses_ranks(trained_run: Path) -> None:
    with pytest.raises(UserError, match="one process"):
        evaluate(trained_run, approximate="ivf", ranks=Ranks(0, 2), quiet=True)
