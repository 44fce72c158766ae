"""Each method's first five steps are those captured when they were last meant to change.

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
AGAIN = "capture them with scripts/capture_golden.py"


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


@pytest.fixture(scope="module", params=sorted(GOLDEN))
def steps(script: ModuleType, request: pytest.FixtureRequest) -> tuple[str, list[float], str]:
    """A method, its losses now, and the digest of its losses and weights."""
    return request.param, *script.first_steps(load_method(request.param, scale="tiny"))


def test_first_five_losses(script: ModuleType, steps: tuple[str, list[float], str]) -> None:
    name, losses, _ = steps
    settings = script.settings(load_method(name, scale="tiny"))
    assert settings == GOLDEN[name]["settings"], f"the card changed: {AGAIN}"
    assert losses == pytest.approx(GOLDEN[name]["losses"], rel=1e-4), AGAIN


def test_first_five_steps_to_the_bit(
    script: ModuleType, steps: tuple[str, list[float], str]
) -> None:
    """On machines of which there is a digest: an order of additions moves no loss by 1e-4, and a
    trained X-JEPA by points."""
    name, _, digest = steps
    if script.here() not in GOLDEN[name]["digests"]:
        pytest.skip(f"no digest of {script.here()}; add it: scripts/capture_golden.py")
    assert digest == GOLDEN[name]["digests"][script.here()], f"an operation moved: {AGAIN}"
