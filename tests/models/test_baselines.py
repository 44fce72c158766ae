"""Band statistics against NumPy; CCA against scikit-learn, and saved and loaded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.cross_decomposition import CCA as LinearCCA
from tone_pairs import BANDS, SharedTone

from crbench.cards import load_method
from crbench.errors import UserError
from crbench.models.base import Method
from crbench.models.baselines import CCA, band_statistics
from crbench.models.registry import build_method


def fitted(pairs: SharedTone) -> CCA:
    model = build_method(load_method("cca"), BANDS)
    assert isinstance(model, CCA)
    model.fit(pairs)  # type: ignore[arg-type]
    return model


def test_statistics_equal_numpys() -> None:
    images = np.random.default_rng(0).gamma(2.0, size=(3, 2, 9, 9))
    found = band_statistics(torch.from_numpy(images), (10.0, 50.0, 90.0)).numpy()
    pixels = images.reshape(3, 2, -1)
    expected = [
        pixels.mean(2),
        pixels.std(2),
        *np.percentile(pixels, [10, 50, 90], axis=2),
        np.abs(np.diff(images, axis=2)).mean((2, 3)),
        np.abs(np.diff(images, axis=3)).mean((2, 3)),
    ]
    np.testing.assert_allclose(found, np.stack(expected, 2), rtol=1e-12)


def test_band_statistics_share_a_space_across_modalities_only() -> None:
    model = build_method(load_method("band-stats"), BANDS)
    data = SharedTone(5)
    a, b = (model.embed(data.sides[m], m) for m in ("a", "b"))  # type: ignore[arg-type]
    assert a["bands"].shape == (5, 7) and b["bands"].shape == (5, 21)
    assert a["mean"].shape == b["mean"].shape == (5, 7)
    torch.testing.assert_close(b["mean"], b["bands"].view(5, 3, 7).mean(1))
    assert model.view("b", "bb", "query") == "bands"
    assert model.view("b", "ab", "gallery") == "mean"
    assert model.trained_by == "nothing" and not list(model.parameters())


def test_projection_equals_scikit_learns() -> None:
    pairs = SharedTone(300)
    model = fitted(pairs)
    x, y = (
        band_statistics(pairs.sides[m].double(), (10.0, 50.0, 90.0)).flatten(1).numpy()
        for m in ("a", "b")
    )
    oracle = LinearCCA(5, scale=True, max_iter=2000).fit(x, y)
    for m, expected in zip("ab", oracle.transform(x, y), strict=True):
        found = model.embed(pairs.sides[m], m)["projected"]  # type: ignore[arg-type]
        assert found.dtype == torch.float32 and found.shape == (300, 5)
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-3, atol=1e-3)


def test_it_finds_what_both_sides_share() -> None:
    model, test = fitted(SharedTone(600)), SharedTone(200, seed=1)
    a, b = (model.embed(test.sides[m], m)["projected"][:, :2] for m in ("a", "b"))  # type: ignore[arg-type]
    for i in range(2):
        assert np.corrcoef(a[:, i], b[:, i])[0, 1] > 0.9


def test_fitting_twice_gives_the_same_bytes_and_weights_survive_a_file(tmp_path: Path) -> None:
    pairs = SharedTone(200)
    first, second = fitted(pairs), fitted(pairs)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    save_file(first.state_dict(), tmp_path / "weights.safetensors")
    loaded: Method = build_method(load_method("cca"), BANDS)
    loaded.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    for m in ("a", "b"):
        views = (model.embed(pairs.sides[m], m)["projected"] for model in (first, loaded))  # type: ignore[arg-type]
        assert torch.equal(*views)


def test_constant_bands_do_no_harm() -> None:
    pairs = SharedTone(100)
    pairs.sides["b"][:, 2] = 0.0
    model = fitted(pairs)
    assert model.embed(pairs.sides["b"], "b")["projected"].isfinite().all()


def test_too_few_pairs_are_a_clear_error() -> None:
    with pytest.raises(UserError, match="needs more than 5 pairs"):
        fitted(SharedTone(5))
