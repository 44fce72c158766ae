"""Each method's first five losses are those captured when they were last meant to change.

``python scripts/capture_golden.py [METHOD ...]`` captures them anew.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

from crbench.cards import load_method

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = json.loads((ROOT / "tests" / "golden" / "losses.json").read_text())


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "capture_golden", ROOT / "scripts" / "capture_golden.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_trained_method_has_golden_losses(script: ModuleType) -> None:
    assert sorted(GOLDEN) == sorted(script.trained_methods())


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_first_five_losses(name: str, script: ModuleType) -> None:
    card = load_method(name, scale="tiny")
    again = "capture them with scripts/capture_golden.py"
    assert script.settings(card) == GOLDEN[name]["settings"], f"the card changed: {again}"
    assert script.first_losses(card) == pytest.approx(GOLDEN[name]["losses"], rel=1e-4), again
