"""PSA: a float64 reference, a metric that stays positive definite, gradients at the kink."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crbench.models.losses import PSA


def matrix(psa: PSA) -> torch.Tensor:
    """The metric 𝐌 = L Lᵀ."""
    return psa.factor() @ psa.factor().T


def wandering(width: int, steps: int, dtype: torch.dtype = torch.float32) -> PSA:
    """A metric after ``steps`` random steps of Adam's usual size."""
    generator = torch.Generator().manual_seed(7)
    psa = PSA(width).to(dtype)
    with torch.no_grad():
        for _ in range(steps):
            for parameter in psa.parameters():
                noise = torch.randn(parameter.shape, generator=generator, dtype=dtype)
                parameter.add_(noise, alpha=0.01)
    return psa


def test_equals_the_formula_in_float64() -> None:
    psa = wandering(6, 200, torch.float64)
    rng = np.random.default_rng(0)
    predicted, target = rng.standard_normal((2, 4, 3, 6))
    metric = matrix(psa).detach().numpy()
    expected = np.mean(
        [
            np.sqrt((p - t) @ metric @ (p - t))
            for p, t in zip(predicted.reshape(-1, 6), target.reshape(-1, 6), strict=True)
        ]
    )
    found = psa(torch.from_numpy(predicted), torch.from_numpy(target))
    assert found.item() == pytest.approx(expected, rel=1e-9)


def test_starts_as_the_euclidean_distance() -> None:
    predicted, target = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(0))
    expected = (predicted - target).norm(dim=-1).mean()
    assert PSA(8)(predicted, target).item() == pytest.approx(expected.item(), rel=1e-6)


def test_metric_stays_positive_definite_over_a_thousand_random_steps() -> None:
    psa = wandering(16, 1000)
    metric = matrix(psa.double()).detach()
    assert not torch.allclose(metric, torch.eye(16, dtype=torch.float64), atol=0.1)
    torch.testing.assert_close(metric, metric.T)
    assert torch.linalg.eigvalsh(metric).min() > 0
    assert torch.linalg.slogdet(metric).logabsdet.abs() < 1e-4


def test_learning_the_metric_cannot_silence_the_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    errors = torch.randn(256, 8, generator=generator)  # isotropic: no metric of det 1 is better
    psa, zero = PSA(8), torch.zeros(256, 8)
    before = psa(errors, zero).item()
    optimizer = torch.optim.Adam(psa.parameters(), lr=0.05)
    for _ in range(100):
        optimizer.zero_grad()
        psa(errors, zero).backward()
        optimizer.step()
    assert psa(errors, zero).item() > 0.9 * before


def test_gradients_are_finite_where_prediction_and_target_agree() -> None:
    psa = wandering(8, 50)
    target = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    predicted = target.clone().requires_grad_()
    loss = psa(predicted, target)
    loss.backward()
    gradients = [predicted.grad, *(p.grad for p in psa.parameters())]
    assert all(g is not None and g.isfinite().all() for g in gradients)
    assert 0 <= loss.item() <= 1e-5


def test_gradients_are_right_elsewhere() -> None:
    psa = wandering(4, 50, torch.float64)
    predicted, target = torch.randn(
        2, 3, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64
    )
    assert torch.autograd.gradcheck(psa, (predicted.requires_grad_(), target))
