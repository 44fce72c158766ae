"""InfoNCE, cosine distance and latent prediction against plain float64 loops."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from crbench.models.losses import cosine_distance, infonce, prediction


def cosine(x: np.ndarray, y: np.ndarray) -> float:
    return float(x @ y / math.sqrt((x @ x) * (y @ y)))


def reference_infonce(a: np.ndarray, b: np.ndarray, temperature: float) -> float:
    """Two cross-entropies, a towards b and b towards a, row by row."""
    total = 0.0
    for x, y in ((a, b), (b, a)):
        for i in range(len(x)):
            scores = [math.exp(cosine(x[i], row) / temperature) for row in y]
            total -= math.log(scores[i] / sum(scores))
    return total / (2 * len(a))


@pytest.mark.parametrize("temperature", [0.07, 0.5])
def test_infonce_formula(temperature: float) -> None:
    torch.manual_seed(0)
    a, b = torch.randn(2, 7, 5, dtype=torch.float64) * 3
    expected = reference_infonce(a.numpy(), b.numpy(), temperature)
    assert float(infonce(a, b, temperature)) == pytest.approx(expected, abs=1e-9)


def test_infonce_knows_its_extremes() -> None:
    same = torch.ones(8, 4)
    assert float(infonce(same, same, 0.1)) == pytest.approx(math.log(8), rel=1e-6)
    assert float(infonce(torch.eye(8), torch.eye(8), 0.01)) < 1e-6


def test_infonce_ignores_length_and_is_symmetric() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(2, 9, 6)
    value = infonce(a, b, 0.1)
    assert torch.allclose(value, infonce(5 * a, 0.2 * b, 0.1))
    assert torch.allclose(value, infonce(b, a, 0.1))


def test_gradients() -> None:
    torch.manual_seed(0)
    a, b = (torch.randn(5, 4, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda x, y: infonce(x, y, 0.3), (a, b))
    assert torch.autograd.gradcheck(cosine_distance, (a, b))


def test_cosine_distance() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(2, 7, 5, dtype=torch.float64)
    expected = np.mean([1 - cosine(x, y) for x, y in zip(a.numpy(), b.numpy(), strict=True)])
    assert float(cosine_distance(a, b)) == pytest.approx(expected, abs=1e-9)
    assert float(cosine_distance(a, -a)) == pytest.approx(2.0)


def test_prediction_is_the_mean_over_everything() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    assert float(prediction(x, y)) == pytest.approx(((x - y).numpy() ** 2).sum() / 60, abs=1e-12)


def test_full_precision_under_autocast() -> None:
    torch.manual_seed(0)
    a, b = torch.randn(2, 16, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = infonce(a, b, 0.1), cosine_distance(a, b), prediction(a.bfloat16(), b)
    assert all(value.dtype == torch.float32 for value in values)
    assert torch.equal(values[0], infonce(a, b, 0.1))
