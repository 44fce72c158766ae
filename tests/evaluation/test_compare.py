"""Comparison of two methods: paired, antisymmetric, and only of what can be compared."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from crbench.board.comparison import comparison_data, verdict
from crbench.cli import app
from crbench.data.cache.reading import open_cache
from crbench.errors import UserError
from crbench.evaluation.compare import compare_runs
from crbench.evaluation.evaluate import evaluate

CARD = "ben-14k-twin"


@pytest.fixture
def files(twin_cache: Path, tmp_path: Path) -> dict[str, Path]:
    """Label vectors with little noise (``good``, two seeds) and with much (``poor``, two seeds)."""
    cache = open_cache(twin_cache)
    assert cache.labels is not None
    made = {}
    for name, noise in (("good", 0.1), ("poor", 3.0)):
        for seed in (0, 1):
            rng = np.random.default_rng(seed)
            arrays = {m: cache.labels + rng.normal(0, noise, cache.labels.shape) for m in "ab"}
            made[f"{name}{seed}"] = tmp_path / f"{name}{seed}.npz"
            np.savez(made[f"{name}{seed}"], ids=cache.ids, **arrays)
    return made


def test_the_differences_are_those_of_the_records(
    trained_run: Path, files: dict[str, Path], tmp_path: Path, twin_cache: Path
) -> None:
    run = evaluate(trained_run, out=tmp_path / "r.json", quiet=True)
    good = evaluate(files["good0"], dataset=CARD, cache=twin_cache, quiet=True)
    found = compare_runs([files["good0"]], [trained_run], quiet=True)
    assert list(found.differences) == ["aa", "bb", "ab", "ba"]
    for d, part in found.differences.items():
        assert set(part) == set(good.scores[d])  # type: ignore[index]
        for metric, cell in part.items():
            mine, theirs = good.scores[d][metric].value, run.scores[d][metric].value  # type: ignore[index]
            assert mine is not None and theirs is not None
            assert cell["difference"] == pytest.approx(mine - theirs, abs=1e-12)
    back = compare_runs([trained_run], [files["good0"]], quiet=True)
    for metric, cell in found.differences["ab"].items():
        other = back.differences["ab"][metric]
        assert (other["low"], other["high"]) == pytest.approx((-cell["high"], -cell["low"]))  # type: ignore[operator]
        assert other["p"] == cell["p"]


def test_a_clear_difference_is_found_and_none_where_there_is_none(
    files: dict[str, Path], twin_cache: Path
) -> None:
    clear = compare_runs([files["good0"]], [files["poor0"]], dataset=CARD, cache=twin_cache)
    assert verdict(clear.differences["ab"]["f1_item@5"]) == "better"
    same = compare_runs([files["poor0"]], [files["poor1"]], dataset=CARD, cache=twin_cache)
    assert verdict(same.differences["ab"]["f1_item@5"]) == "not significantly different"


def test_seeds_by_pattern(files: dict[str, Path], twin_cache: Path, tmp_path: Path) -> None:
    found = compare_runs(
        [tmp_path / "good*.npz"], [tmp_path / "poor*.npz"], dataset=CARD, cache=twin_cache
    )
    cell = found.differences["ab"]["f1_item@5"]
    assert (cell["n_seeds_a"], cell["n_seeds_b"]) == (2, 2) and verdict(cell) == "better"


def test_what_cannot_be_compared_is_refused(
    trained_run: Path, files: dict[str, Path], twin_cache: Path, tmp_path: Path
) -> None:
    from crbench import train
    from crbench.cards import load_dataset
    from crbench.data.cache.build import build_cache

    sizes = [f"source.splits.{name}=16" for name in ("train", "val", "test")]
    other = build_cache(load_dataset(CARD, overrides=sizes), tmp_path / "o.h5", quiet=True)
    run = train("band-stats", CARD, cache=other, out=tmp_path / "bands", quiet=True)
    with pytest.raises(UserError, match="scored on other data"):
        compare_runs([trained_run], [run], quiet=True)
    with pytest.raises(UserError, match="unknown protocol"):
        compare_runs([trained_run], [files["good0"]], protocol="csmea", quiet=True)
    with pytest.raises(UserError, match="nothing matches"):
        compare_runs([trained_run], [tmp_path / "none*"], quiet=True)
    with pytest.raises(UserError, match="given twice"):
        compare_runs([trained_run], [trained_run], quiet=True)


def test_the_command_prints_a_table_and_json(
    trained_run: Path, files: dict[str, Path], tmp_path: Path
) -> None:
    out = tmp_path / "c.json"
    words = ["evaluate", str(files["good0"]), "--compare", str(trained_run), "--out", str(out)]
    table = CliRunner().invoke(app, words)
    assert table.exit_code == 0, table.output
    assert "F1@5 (item)" in table.output and "S1→S2" in table.output and "better" in table.output
    printed = CliRunner().invoke(app, [*words, "--json"])
    assert json.loads(printed.output) == json.loads(out.read_text())
    data = comparison_data(compare_runs([files["good0"]], [trained_run], quiet=True))
    assert json.loads(printed.output)["differences"] == data["differences"]
    refused = CliRunner().invoke(app, [*words, "--name", "x"])
    assert refused.exit_code == 2 and "--name does not go with --compare" in refused.output
