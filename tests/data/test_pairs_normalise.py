"""Normalisation: z-scores in float32 of any dtype, sizes by area averages or interpolation."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from crbench.data.pairs import band_tensors, normalise, resize


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float64"])
def test_pixels_of_any_dtype_become_z_scores_and_are_then_resized(dtype: str) -> None:
    native = np.random.default_rng(0).integers(0, 200, (3, 2, 8, 8)).astype(dtype)
    mean, std = band_tensors({"mean": [90.0, 100.0], "std": [50.0, 60.0]})
    scores = (native - np.array([90.0, 100.0])[:, None, None]) / np.array([[[50.0]], [[60.0]]])
    same = normalise(torch.from_numpy(native), mean, std, 8)
    assert same.dtype == torch.float32
    np.testing.assert_allclose(same, scores, atol=1e-6)
    half = scores.reshape(3, 2, 4, 2, 4, 2).mean((3, 5))
    np.testing.assert_allclose(normalise(torch.from_numpy(native), mean, std, 4), half, atol=1e-6)


@pytest.mark.parametrize("size", [4, 8, 24, 32, 64])
def test_resizing_keeps_constants_and_shrinking_keeps_the_mean(size: int) -> None:
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    resized = resize(images, size)
    assert resized.shape == (2, 3, size, size)
    torch.testing.assert_close(resize(torch.ones(1, 1, 32, 32), size), torch.ones(1, 1, size, size))
    torch.testing.assert_close(resized.mean((2, 3)), images.mean((2, 3)), atol=0.02, rtol=0)
    if 32 % size == 0:
        torch.testing.assert_close(resized, functional.adaptive_avg_pool2d(images, size))


def test_images_that_are_not_square_become_so() -> None:
    assert resize(torch.rand(1, 2, 20, 32), 16).shape == (1, 2, 16, 16)
