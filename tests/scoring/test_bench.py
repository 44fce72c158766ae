"""The benchmark script runs and its programs agree."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_scoring.py"
KEYS = {
    "over_numpy_sort", "over_inner_product", "vs_torch_sort", "vs_sklearn", "vs_pytrec_eval",
    "max_abs_diff", "peak_extra_gib", "exponent",
}  # fmt: skip


def test_bench_prints_its_keys_and_equal_values() -> None:
    pytest.importorskip("pytrec_eval")
    sizes = ["--queries", "16", "--gallery", "2000", "--dims", "16", "--repeats", "1"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--json", *sizes], capture_output=True, text=True, check=True
    )
    result = json.loads(done.stdout)
    assert set(result) >= KEYS
    assert result["max_abs_diff"] < 1e-9
    assert all(result[key] > 0 for key in KEYS - {"max_abs_diff", "peak_extra_gib", "exponent"})
