"""The benchmark script runs and prints its keys for both shapes."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_loader.py"
KEYS = {"streaming_over_memmap", "resident_over_memmap", "streaming_over_geotiff", "memory_growth"}


def test_bench_prints_its_keys() -> None:
    sizes = ["--pairs", "16", "--geotiff-pairs", "2", "--repeats", "1"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--json", *sizes], capture_output=True, text=True, check=True
    )
    result = json.loads(done.stdout)
    assert set(result) == {"120x120", "256x256"}
    for shape, gb in (("120x120", 460_800 * 16 / 1e9), ("256x256", 81_920 * 80 / 1e9)):
        assert set(result[shape]) >= KEYS
        assert all(result[shape][key] > 0 for key in KEYS)
        assert abs(result[shape]["gb"] - gb) < 1e-9
