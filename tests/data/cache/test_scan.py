"""One pass over an array: statistics over many blocks, and what counts as fill."""

import hashlib

import numpy as np
import pytest

from crbench.data.cache import scan as scans


def test_statistics_are_the_same_over_many_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of three rows whose means lie far apart, some without a row of the train split."""
    rng = np.random.default_rng(0)
    level = 1e4 + 50.0 * np.arange(40)[:, None, None, None]
    images = (level + rng.normal(size=(40, 2, 5, 5))).astype(np.float32)
    train = np.isin(np.arange(40), [0, 1, 2, 3, 10, 20, 21, 22, 39])
    monkeypatch.setattr(scans, "_BLOCK_BYTES", 3 * images[0].nbytes)
    found = scans.scan(images, train=train)
    chosen = images[train].astype(np.float64)
    np.testing.assert_allclose(found.mean, chosen.mean((0, 2, 3)), rtol=1e-12)
    np.testing.assert_allclose(found.std, chosen.std((0, 2, 3)), rtol=1e-10)
    assert found.sha256 == hashlib.sha256(images.tobytes()).hexdigest()
    np.testing.assert_array_equal(found.low, images.min((2, 3)))


def test_a_pixel_is_fill_where_it_is_zero_in_every_band() -> None:
    images = np.ones((2, 3, 4, 4), np.uint16)
    for band in range(3):  # a value, where other bands have one
        images[0, band, band] = 0
    images[1, :, 0] = 0
    assert scans.scan(images).invalid.tolist() == [[0.0] * 3, [0.25] * 3]
