"""The time of one query: measured where asked, of a run and of a file, and nothing else moves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from crbench.cli import app
from crbench.data.cache.reading import open_cache
from crbench.evaluation.evaluate import evaluate


def test_a_run_is_timed_from_its_pixels_and_its_scores_stay(
    trained_run: Path, tmp_path: Path
) -> None:
    plain = evaluate(trained_run, out=tmp_path / "a.json", quiet=True)
    timed = evaluate(trained_run, out=tmp_path / "b.json", quiet=True, time_query=True)
    assert "query_embed_s" not in plain.timings
    embed, search = (timed.timings[f"query_{name}_s"] for name in ("embed", "search"))
    assert 1e-5 < search < embed < 5
    assert timed.scores == plain.scores


def test_a_file_has_the_time_of_its_search_alone(twin_cache: Path, tmp_path: Path) -> None:
    cache = open_cache(twin_cache)
    rng = np.random.default_rng(0)
    path = tmp_path / "mine.npz"
    vectors = {m: rng.standard_normal((cache.n, 8)).astype("f4") for m in "ab"}
    np.savez(path, ids=cache.ids, **vectors)
    record = evaluate(path, dataset="ben-14k-twin", cache=twin_cache, quiet=True, time_query=True)
    assert record.timings["query_search_s"] > 0 and "query_embed_s" not in record.timings


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_the_command_prints_the_neighbours_of_f1_and_the_time(
    trained_run: Path, tmp_path: Path, words: list[str]
) -> None:
    out = str(tmp_path / "r.json")
    done = CliRunner().invoke(app, ["evaluate", str(trained_run), "--out", out, "-q", *words])
    assert done.exit_code == 0
    for text in ("F1@10 (item): S1→S1", "mAP: ", "nDCG@10: ", "MRR: ", "one query, ms: embedding"):
        assert (text in done.output) == (not words)
    assert ("query_embed_s" in done.output) == bool(words)
