"""Trackers beside the log: they have what it has, and one that fails stops nothing."""

import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crbench.files import read_jsonl, sha256_file
from crbench.training.trackers import flat

Go = Callable[..., Path]


def test_tensorboard_has_what_the_log_has(watched: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = events.EventAccumulator(str(watched / "tensorboard"))
    found.Reload()
    for line in read_jsonl(watched / "metrics.jsonl"):
        for name, value in flat(line).items():
            stored = {e.step: e.value for e in found.Scalars(name)}
            assert stored[line["epoch"]] == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(("name", "folder"), [("wandb", "wandb"), ("trackio", "trackio")])
def test_a_service_keeps_the_run_on_this_machine(
    go: Go,
    twin_cache: Path,
    plain: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    name: str,
    folder: str,
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "out" / "trackio"))  # read at import
    pytest.importorskip(name)
    out = go(twin_cache, tmp_path / "out", track=[name])
    assert "failed" not in capsys.readouterr().err
    assert [path for path in (out / folder).rglob("*") if path.is_file()]
    assert sha256_file(out / "weights.safetensors") == sha256_file(plain / "weights.safetensors")


def broken_at(moment: str) -> types.ModuleType:
    """A module in the place of wandb that raises at ``moment`` and at no other."""
    module = types.ModuleType("wandb")

    def call(name: str) -> Any:
        def act(*_: Any, **__: Any) -> None:
            if name == moment:
                raise ConnectionError("no route\nto host")

        return act

    for name in ("init", "log", "finish"):
        setattr(module, name, call(name))
    return module


@pytest.mark.parametrize("moment", ["import", "init", "log", "finish"])
def test_a_tracker_that_raises_is_named_once_and_stops_nothing(
    go: Go,
    twin_cache: Path,
    plain: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    moment: str,
) -> None:
    module = None if moment == "import" else broken_at(moment)
    monkeypatch.setitem(sys.modules, "wandb", module)  # None: as if it were not installed
    out = go(twin_cache, tmp_path / "out", track=["wandb"])
    said = capsys.readouterr().err
    assert said.count("tracker wandb failed") == 1
    assert ("crbench[track]" in said) == (moment == "import")
    assert len(read_jsonl(out / "metrics.jsonl")) == 3
    assert sha256_file(out / "weights.safetensors") == sha256_file(plain / "weights.safetensors")
