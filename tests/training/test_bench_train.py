"""The benchmark of a step: its count of operations is right, its plain step computes our loss."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from crbench.cards import load_method
from crbench.models.base import Step
from crbench.models.hashing import normal
from crbench.models.registry import build_method

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "bench_train", ROOT / "scripts" / "bench_train.py"
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("settings", [[], ["loss.pred=0.0"], ["loss.targets=live"]])
def test_the_closed_formula_is_what_a_step_does(script: ModuleType, settings: list[str]) -> None:
    """Counted by torch at the paper's size, on tensors without memory. A little more is done:
    hidden patches have a gradient too. Attention is counted as the matrix products that it is:
    not every version of torch counts the fused kernel of processors."""
    card = load_method("cr-jepa", overrides=settings)
    with FakeTensorMode():
        model = build_method(card, script.BANDS)
        batch = {m: torch.empty(2, c, 224, 224) for m, c in script.BANDS.items()}
        batch["keys"] = torch.empty(2, dtype=torch.int64)
        with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            model.loss(batch, Step(0, 0, 10, 0))["loss"].backward()
    counted = counter.get_total_flops() / 2
    assert script.fewest_flops(card, script.BANDS) == pytest.approx(counted, rel=0.03)
    assert script.fewest_flops(card, script.BANDS) < counted


def test_the_paper_needs_124_gflops_a_pair(script: ModuleType) -> None:
    assert script.fewest_flops(load_method("cr-jepa"), script.BANDS) == pytest.approx(
        124e9, rel=0.01
    )


def test_the_plain_step_has_our_loss_and_gradients(script: ModuleType) -> None:
    card = load_method("cr-jepa", scale="tiny")
    torch.manual_seed(0)
    model = build_method(card, script.BANDS)
    batch = {m: normal(i, 6, c, 32, 32) for i, (m, c) in enumerate(script.BANDS.items())}
    batch["keys"], step = torch.arange(6), Step(5, 1, 100, 3)
    found = []
    for loss in (model.loss(batch, step)["loss"], script.plain_loss(model, batch, step)):
        model.zero_grad()
        loss.backward()
        found.append((loss.detach(), [p.grad.clone() for p in model.parameters()]))
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-5, atol=0)
    for ours, plain in zip(found[0][1], found[1][1], strict=True):
        torch.testing.assert_close(ours, plain, rtol=1e-3, atol=1e-5)
