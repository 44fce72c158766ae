"""Scenes: what a radar sees of them."""

import numpy as np

from crbench.data.sources.synthetic.grounds import GROUNDS
from crbench.data.sources.synthetic.scene import Scene, backscatter


def test_speckle_is_gamma_of_the_given_looks() -> None:
    """On uniform ground mean² / variance of the intensity is the number of looks."""
    side = 256
    flat = np.zeros(side * side)
    scene = Scene(["broad-leaved"], flat.astype(int), flat, flat.astype(np.float32), side)
    intensity = backscatter(np.random.default_rng(0), scene, 1, 4.0)
    looks = intensity.mean(1) ** 2 / intensity.var(1)
    np.testing.assert_allclose(looks, 4.0, rtol=0.05)
    expected = [GROUNDS["broad-leaved"].vv, GROUNDS["broad-leaved"].vh]
    np.testing.assert_allclose(10 * np.log10(intensity.mean(1)), expected, atol=2.5)
