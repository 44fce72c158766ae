"""SIGReg against its formula in plain float64 loops, its scale, its gradient, its directions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from crbench.models.losses import directions, sigreg


def reference(r: np.ndarray, u: np.ndarray, knots: int) -> float:
    """The formula of the docstring, one direction and one knot at a time."""
    delta = 3 / (knots - 1)
    total = 0.0
    for direction in u:
        s = r @ direction
        for k in range(knots):
            t = k * delta
            phi = math.exp(-(t**2) / 2)
            weight = delta * phi * (1 if k in (0, knots - 1) else 2)
            cos = sum(math.cos(t * value) for value in s) / len(s)
            sin = sum(math.sin(t * value) for value in s) / len(s)
            total += weight * ((cos - phi) ** 2 + sin**2)
    return len(r) / len(u) * total


@pytest.mark.parametrize("knots", [2, 5, 17])
def test_formula(knots: int) -> None:
    torch.manual_seed(0)
    r = torch.randn(12, 6, dtype=torch.float64) * 1.7 + 0.3
    u = directions(9, 6, 0, 0).double()
    assert float(sigreg(r, u, knots)) == pytest.approx(
        reference(r.numpy(), u.numpy(), knots), abs=1e-6
    )


def test_groups_are_scored_one_by_one() -> None:
    torch.manual_seed(0)
    r = torch.randn(4, 16, 8)
    u = directions(10, 8, 0, 0)
    together = sigreg(r, u)
    assert together.shape == (4,)
    assert torch.allclose(together, torch.stack([sigreg(x, u) for x in r]), rtol=1e-5)


@pytest.mark.parametrize("batch", [32, 512])
def test_scale_on_standard_normal_samples(batch: int) -> None:
    torch.manual_seed(0)
    values = [sigreg(torch.randn(batch, 64), directions(256, 64, i)) for i in range(20)]
    assert float(torch.stack(values).mean()) == pytest.approx(1.05, abs=0.05)


@pytest.mark.parametrize("batch", [32, 512])
def test_scale_on_collapse(batch: int) -> None:
    value = float(sigreg(torch.zeros(batch, 64), directions(256, 64, 0)))
    assert value == pytest.approx(0.402 * batch, rel=2e-3)


def test_gradient() -> None:
    torch.manual_seed(0)
    r = torch.randn(2, 5, 4, dtype=torch.float64, requires_grad=True)
    u = directions(3, 4, 0).double()
    assert torch.autograd.gradcheck(lambda x: sigreg(x, u, 7), (r,))


def test_descent_leads_from_collapse_to_the_normal_scale() -> None:
    torch.manual_seed(0)
    r = (0.01 * torch.randn(256, 8)).requires_grad_()
    optimiser = torch.optim.Adam([r], lr=0.05)
    for step in range(150):
        loss = sigreg(r, directions(64, 8, step))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss.item() < 1.5
    assert r.std(0).mean().item() == pytest.approx(1.0, abs=0.15)


def test_half_precision_is_widened() -> None:
    r = torch.randn(16, 8).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = sigreg(r, directions(10, 8, 0))
    assert value.dtype == torch.float32
    assert torch.equal(value, sigreg(r.float(), directions(10, 8, 0)))


def test_directions_are_unit_and_a_function_of_the_seed() -> None:
    first = directions(64, 16, 3, 100)
    assert torch.allclose(first.norm(dim=1), torch.ones(64), atol=1e-6)
    torch.manual_seed(99)  # whatever else has drawn on this rank
    assert torch.equal(first, directions(64, 16, 3, 100))
    assert not torch.equal(first, directions(64, 16, 3, 101))
    assert not torch.equal(first, directions(64, 16, 4, 100))
    assert float((first @ first.T - torch.eye(64)).abs().mean()) < 0.25  # not all alike
