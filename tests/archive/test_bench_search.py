"""The benchmark of one search runs, on a run that it makes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "scripts" / "bench_search.py"


def test_bench_prints_its_keys() -> None:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--json", "--small"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    result = json.loads(done.stdout)
    assert set(result) == {
        "inner_product_ms", "answer_ms", "over_inner_product", "crowded_ms",
        "over_inner_product_crowded", "crowded_candidates", "by_id_ms", "build_s", "open_s",
        "index_mb",
    }  # fmt: skip
    assert all(value > 0 for value in result.values())
    assert result["crowded_candidates"] >= 20
    assert 0.128 <= result["index_mb"] < 0.129  # float32 alone
