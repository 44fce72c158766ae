"""VICReg against a float64 reference, and at the points where its terms are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crbench.models.losses import vicreg


def reference(x: np.ndarray, y: np.ndarray, hinge: float) -> dict[str, float]:
    """The paper's formulas with loops over dimensions, float64."""
    terms = {"invariance": float(((x - y) ** 2).mean()), "variance": 0.0, "covariance": 0.0}
    dims = x.shape[1]
    for side in (x, y):
        stds = [np.sqrt(np.var(side[:, j], ddof=1) + 1e-4) for j in range(dims)]
        terms["variance"] += float(np.mean([max(0.0, hinge - s) for s in stds])) / 2
        covariance = np.cov(side.T)
        terms["covariance"] += sum(
            covariance[i, j] ** 2 for i in range(dims) for j in range(dims) if i != j
        ) / float(dims)
    return terms


@pytest.mark.parametrize("hinge", [1.0, 0.5])
def test_equals_the_reference(hinge: float) -> None:
    rng = np.random.default_rng(0)
    x, y = 0.7 * rng.standard_normal((2, 40, 6)) @ rng.standard_normal((6, 6))
    found = vicreg(torch.from_numpy(x), torch.from_numpy(y), hinge=hinge)
    expected = reference(x, y, hinge)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value, rel=1e-10), name


def test_collapsed_embeddings_pay_the_whole_hinge_and_nothing_else() -> None:
    constant = torch.full((8, 5), 3.0, requires_grad=True)
    terms = vicreg(constant, constant)
    assert terms["variance"].item() == pytest.approx(1 - 0.01, abs=1e-5)  # √1e-4 inside the hinge
    assert terms["invariance"].item() == 0 and terms["covariance"].item() == 0
    terms["variance"].backward()
    assert constant.grad is not None and constant.grad.isfinite().all()


def test_spread_and_uncorrelated_embeddings_pay_nothing() -> None:
    signs = torch.tensor([[i >> k & 1 for k in range(3)] for i in range(8)]) * 4.0 - 2.0
    assert {name: value.item() for name, value in vicreg(signs, signs).items()} == pytest.approx(
        {"invariance": 0, "variance": 0, "covariance": 0}, abs=1e-6
    )


def test_computes_in_fp32_under_mixed_precision() -> None:
    x, y = torch.randn(2, 64, 16, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = vicreg(x, y)
    for name, value in vicreg(x.double(), y.double()).items():
        assert mixed[name].dtype == torch.float32
        assert mixed[name].item() == pytest.approx(value.item(), rel=1e-5)
