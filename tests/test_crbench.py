"""``import crbench``: quick, and its four functions are those of the stages."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import crbench
from crbench.errors import UserError
from crbench.run.devices import Ranks
from crbench.training import loop
from crbench.training.settings import TrainSettings


def imported(code: str, **environment: str) -> str:
    """What ``code`` prints in a new process."""
    kept = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=kept | environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout.strip()


def test_nothing_heavy_is_loaded_before_it_is_asked_for() -> None:
    heavy = "[m for m in ('torch', 'numpy', 'pydantic', 'crbench.training') if m in sys.modules]"
    assert imported(f"import sys, crbench; print({heavy})") == "[]"


def test_threads_wait_passively_unless_the_user_says_otherwise() -> None:
    code = "import crbench, os; print(os.environ['OMP_WAIT_POLICY'])"
    assert imported(code) == "PASSIVE"
    assert imported(code, OMP_WAIT_POLICY="ACTIVE") == "ACTIVE"


@pytest.mark.parametrize(
    ("name", "module"),
    [("evaluate", "evaluation.evaluate"), ("load", "embedding.load"), ("search", "archive.search")],
)
def test_the_functions_are_those_of_their_stages(name: str, module: str) -> None:
    assert getattr(crbench, name) is getattr(import_module(f"crbench.{module}"), name)


def test_all_that_is_promised_is_there_and_nothing_else() -> None:
    assert all(callable(getattr(crbench, name)) for name in crbench.__all__)
    with pytest.raises(AttributeError, match="no attribute 'evalute'"):
        crbench.evalute  # noqa: B018


def test_train_hands_on_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[tuple[TrainSettings, Ranks | None]] = []

    def train_run(settings: TrainSettings, ranks: Ranks | None) -> Path:
        taken.append((settings, ranks))
        return Path("run")

    monkeypatch.setattr(loop, "train_run", train_run)
    assert crbench.train("cr-jepa", "ben-14k-twin") == Path("run")
    ranks = Ranks(0, 2)
    crbench.train("cca", "x.toml", ranks=ranks, seed=3, scale="tiny", out="o", resume=True)
    assert taken == [
        (TrainSettings("cr-jepa", "ben-14k-twin"), None),
        (TrainSettings("cca", "x.toml", seed=3, scale="tiny", out="o", resume=True), ranks),
    ]
    with pytest.raises(TypeError, match="epoch"):
        crbench.train("cca", "x", epoch=3)
    with pytest.raises(UserError, match="seed"):
        crbench.train("cca", "x", seed=-1)
    assert len(taken) == 2
