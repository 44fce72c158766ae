"""A run, opened: its statement, its cache and its weights belong together, or it is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from crbench.data.cache.reading import open_cache
from crbench.embedding.load import load
from crbench.errors import UserError
from crbench.evaluation.evaluate import evaluate
from crbench.run.folder import RunFolder
from crbench.run.opened import (
    OpenedRun,
    band_counts,
    load_weights,
    open_dataset,
    open_run,
    read_statement,
    save_weights,
    statistics,
    trained_model,
    weights_statement,
)


@pytest.fixture
def copy(trained_run: Path, tmp_path: Path) -> Path:
    """A copy of the trained run, without embeddings."""
    left = shutil.ignore_patterns("embeddings*", "record*")
    return Path(shutil.copytree(trained_run, tmp_path / "copy", ignore=left))


def model_of(run: OpenedRun) -> torch.nn.Module:
    return trained_model(run.folder, run.info, torch.device("cpu"))


def edit(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    info = json.loads((run / "run.json").read_text())
    change(info)
    (run / "run.json").write_text(json.dumps(info))


def test_weights_of_another_run_are_refused(copy: Path, other_seed: Path) -> None:
    shutil.copy(other_seed / "weights.safetensors", copy / "weights.safetensors")
    with pytest.raises(UserError, match="of another run: their seed differ") as caught:
        model_of(open_run(copy))
    assert "weights.safetensors" in str(caught.value)


def test_damaged_weights_are_refused_by_name(copy: Path) -> None:
    weights = copy / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match="weights") as caught:
        evaluate(copy, quiet=True)
    assert str(weights) in str(caught.value)


def test_a_cache_that_normalises_otherwise_is_refused(copy: Path) -> None:
    edit(copy, lambda info: info["statistics"]["a"]["mean"].__setitem__(0, -5.0))
    with pytest.raises(UserError, match="normalises"):
        open_run(copy)


def test_a_cache_of_other_pixels_is_refused(copy: Path) -> None:
    edit(copy, lambda info: info.update(cache_digest="0" * 64))
    with pytest.raises(UserError, match="not the one that the run was trained on") as caught:
        open_run(copy)
    assert "000000000000" in (caught.value.fix or "")


def test_an_opened_run_has_its_statement_and_its_cache(copy: Path, twin_cache: Path) -> None:
    run = open_run(str(copy))
    assert run.path == copy and run.folder.which == "last" and run.info == RunFolder(copy).read()
    assert run.cache.digest == open_cache(twin_cache).digest == run.info.cache_digest
    assert statistics(run.cache) == run.info.statistics
    assert band_counts(run.cache.card) == {"a": 2, "b": 12}
    model = model_of(run)
    assert not any(module.training for module in model.modules())


def test_bands_in_use_are_counted(twin_cache: Path) -> None:
    data = open_dataset("ben-14k-twin", twin_cache, ["a=VH", "b=B04,B03,B02"])
    assert band_counts(data.card) == {"a": 1, "b": 3}
    assert {m: len(table["mean"]) for m, table in statistics(data).items()} == {"a": 1, "b": 3}


def test_a_cache_of_another_dataset_is_refused_by_both_names(twin_cache: Path) -> None:
    with pytest.raises(UserError, match="holds 'ben-14k-twin', not 'eurosat-wald'") as caught:
        open_dataset("eurosat-wald", twin_cache)
    assert caught.value.where == str(twin_cache)


def test_the_weights_say_what_they_are(copy: Path) -> None:
    info = RunFolder(copy).read()
    said = read_statement(copy / "weights.safetensors")
    expected = weights_statement(info)
    assert {key: said[key] for key in expected} == expected
    model = model_of(open_run(copy))
    save_weights(copy / "bare.safetensors", model, {"method": info.method})
    assert read_statement(copy / "bare.safetensors") == {"method": info.method}
    with pytest.raises(UserError, match="do not say what they are"):
        load(copy / "bare.safetensors")
    load_weights(copy / "bare.safetensors", model, expected)  # keys that it lacks are not compared


def test_weights_that_a_bit_differs_in_are_not_those_of_training(copy: Path) -> None:
    path = copy / "weights.safetensors"
    data = bytearray(path.read_bytes())
    data[-9] ^= 1
    path.write_bytes(data)
    with pytest.raises(UserError, match="not those that training wrote"):
        model_of(open_run(copy))
