"""Long runs of what `make test` does once: ten kills at random moments, and the same file."""

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crbench.cards import load_dataset
from crbench.data.cache.build import build_cache
from crbench.data.cache.reading import open_cache
from crbench.data.cache.verify import verify_cache
from crbench.files import read_jsonl, sha256_file

pytestmark = [pytest.mark.soak, pytest.mark.timeout(1500)]

SIZES = ["source.splits.train=700", "source.splits.val=150", "source.splits.test=150"]
ROWS, BLOCKS = 16, 63
# small blocks and a rest after each, so that a kill finds the build before it has done many more
CODE = f"""
import dataclasses, sys, time
from crbench.cards import load_dataset
from crbench.data.cache import blocks
from crbench.data.cache import build
opened, write = build.open_source, blocks.write_block
build.open_source = lambda *given: dataclasses.replace(opened(*given), rows_per_block={ROWS})
blocks.write_block = lambda *given: (write(*given), time.sleep(0.05))[0]
build.build_cache(load_dataset("ben-14k-twin", overrides={SIZES}), sys.argv[1], quiet=True)
"""


def blocks_done(log: Path) -> int:
    return len(read_jsonl(log)) - 1 if log.is_file() else -1


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGKILL])
def test_ten_kills_at_random_moments_end_in_the_same_file(
    tmp_path: Path, sent: signal.Signals
) -> None:
    card = load_dataset("ben-14k-twin", overrides=SIZES)
    whole = build_cache(card, tmp_path / "whole.h5", quiet=True)
    out, log = tmp_path / "killed.h5", tmp_path / "killed.h5.part.log"
    chance, kills, kept = random.Random(0), 0, []
    while kills < 10:
        process = subprocess.Popen([sys.executable, "-c", CODE, str(out)])
        # after some blocks of its own or, now and then, while it starts or looks at the old ones
        goal = blocks_done(log) + chance.choice((0, 1, 1, 2, 3))
        deadline = time.monotonic() + 120
        while blocks_done(log) < goal and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        time.sleep(chance.uniform(0.0, 0.1))
        process.send_signal(sent)
        assert process.wait(timeout=60) == -sent, "it ended before it could be killed"
        kills += 1
        kept.append(blocks_done(log))
        assert not out.exists()
    assert kept == sorted(kept), "a block that was finished was lost"
    assert kept[-1] >= 5
    assert subprocess.run([sys.executable, "-c", CODE, str(out)]).returncode == 0
    assert sha256_file(out) == sha256_file(whole)
    assert open_cache(out).digest == open_cache(whole).digest
    assert verify_cache(out, quiet=True)[0] == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["killed.h5", "whole.h5"]


def test_kills_while_the_file_is_sealed_end_in_the_same_file(tmp_path: Path) -> None:
    """The pass for digests, the writing of attributes and the mark, at random moments of each."""
    card = load_dataset("ben-14k-twin", overrides=SIZES)
    whole = build_cache(card, tmp_path / "whole.h5", quiet=True)
    out, log = tmp_path / "killed.h5", tmp_path / "killed.h5.part.log"
    chance, killed = random.Random(1), 0
    for _ in range(10):
        process = subprocess.Popen([sys.executable, "-c", CODE, str(out)])
        while blocks_done(log) < BLOCKS and process.poll() is None:
            time.sleep(0.002)
        time.sleep(chance.uniform(0.0, 0.4))
        process.send_signal(signal.SIGKILL)
        killed += process.wait(timeout=60) == -signal.SIGKILL
        if out.exists():  # the kill came after the end: undo it, to be killed once more
            assert sha256_file(out) == sha256_file(whole)
            out.unlink()
    assert killed >= 3, "too few kills to show anything"
    build_cache(card, out, quiet=True)
    assert sha256_file(out) == sha256_file(whole)
