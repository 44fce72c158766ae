"""Shares of the gradient: a closed form, what weights do to them; measuring moves nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from crbench.cards import load_method
from crbench.models.base import Step
from crbench.models.hashing import normal
from crbench.models.registry import build_method
from crbench.training.shares import gradient_shares, measured_steps
from crbench.training.step import Stepper

STEP = Step(index=0, epoch=0, total=10, seed=1)


def test_the_points_are_first_middle_and_last() -> None:
    assert measured_steps(100) == (0, 50, 99)
    assert measured_steps(1) == (0,) and measured_steps(2) == (0, 1) and measured_steps(0) == ()


def test_a_closed_form() -> None:
    """L = 2·3x² + 0.5·4y: gradients 2·6x = 12 at x = 1 and 0.5·4 = 2; z is frozen."""
    model = nn.ParameterDict({"x": torch.ones(1), "y": torch.ones(1), "z": torch.ones(1)})
    model["z"].requires_grad_(False)
    first, second = 3 * model["x"].square().sum(), (4 * model["y"] + 100 * model["z"]).sum()
    terms = {"loss": 2 * first + 0.5 * second, "first": first, "second": second}
    assert gradient_shares(terms, model) == {
        "first": pytest.approx(12 / 14),
        "second": pytest.approx(2 / 14),
    }
    terms["loss"].backward()  # the way back is still open
    assert model["x"].grad.item() == 12


def test_terms_without_a_gradient_or_a_weight_have_no_share() -> None:
    model = nn.ParameterDict({"x": torch.ones(1)})
    term, idle = model["x"].sum(), 5 * model["x"].sum()
    assert gradient_shares({"loss": term, "term": term.detach()}, model) == {}
    assert gradient_shares({"loss": 1 * term, "term": term, "idle": idle}, model) == {"term": 1}


def measured(method: str, *overrides: str) -> dict[str, float]:
    card = load_method(method, scale="tiny", overrides=overrides)
    torch.manual_seed(0)
    model = build_method(card, {"a": 2, "b": 3})
    side = model.image_size
    batch = {m: normal(i, 8, 2 + i, side, side) for i, m in enumerate("ab")}
    batch["keys"] = torch.arange(8)
    before = [p.clone() for p in model.parameters()]
    take, state = Stepper(model, card.train, "fp32", 10), torch.get_rng_state()
    found = take.shares(batch, STEP)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    return found


@pytest.mark.parametrize("method", ["cr-jepa", "x-jepa", "rejepa"])
def test_the_terms_of_each_method_share_the_whole(method: str) -> None:
    found = measured(method)
    assert sum(found.values()) == pytest.approx(1) and min(found.values()) >= 0
    assert len(found) > 2


def test_a_weight_doubled_doubles_the_part() -> None:
    once, twice = (measured("cr-jepa", f"loss.uni={w}")["uni"] for w in (1, 2))
    assert twice == pytest.approx(2 * once / (1 + once))
    assert "uni" not in measured("cr-jepa", "loss.uni=0")
