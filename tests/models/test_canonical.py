"""Strong floors: CCA against an eigenproblem, statistics against NumPy, choices on val alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy.linalg import eigh
from tone_pairs import BANDS, SharedTone

from crbench import train
from crbench.cards import load_dataset, load_method
from crbench.data.cache.build import build_cache
from crbench.errors import UserError
from crbench.models.canonical import (
    RidgeCCA,
    Spectrum,
    own_pair_rank,
    rich_statistics,
    ridge_cca,
)
from crbench.models.registry import build_method
from crbench.run.folder import RunFolder


def centred(*shape: int, seed: int) -> torch.Tensor:
    x = torch.from_numpy(np.random.default_rng(seed).standard_normal(shape))
    return x - x.mean(0)


def sides(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Two sides (200, 6) and (200, 4) that share two directions."""
    shared = centred(200, 2, seed=seed)
    one = centred(200, 6, seed=seed + 1) + shared @ centred(2, 6, seed=seed + 2)
    other = centred(200, 4, seed=seed + 3) + shared @ centred(2, 4, seed=seed + 4)
    return one - one.mean(0), other - other.mean(0)


def build(name: str, *overrides: str) -> RidgeCCA:
    torch.manual_seed(0)
    model = build_method(load_method(name, overrides=overrides), BANDS)
    assert isinstance(model, RidgeCCA)
    return model


def test_rich_statistics_equal_numpys() -> None:
    images = np.random.default_rng(0).gamma(2.0, size=(3, 2, 9, 9))
    found = rich_statistics(torch.from_numpy(images), (25.0, 75.0), (1, 4)).numpy()
    pixels = images.reshape(3, 2, -1)
    by_band = [pixels.mean(2), pixels.std(2), *np.percentile(pixels, [25, 75], axis=2)]
    expected = [np.stack(by_band, 2).reshape(3, -1)]
    for stride in (1, 4):
        expected.append(np.abs(images[:, :, stride:] - images[:, :, :-stride]).mean((2, 3)))
        expected.append(np.abs(images[..., stride:] - images[..., :-stride]).mean((2, 3)))
    expected.append(np.array([[np.corrcoef(image)[0, 1]] for image in pixels]))
    np.testing.assert_allclose(found, np.concatenate(expected, 1), rtol=1e-10)
    model = build("ridge-cca")
    for m, bands in BANDS.items():
        drawn = torch.rand(2, bands, 64, 64)
        assert model.embed(drawn, m)["statistics"].shape == (2, model.config.model.width(bands))  # type: ignore[arg-type]


@pytest.mark.parametrize("ridge", [0.0, 0.1, 10.0])
def test_correlations_solve_the_generalised_eigenproblem(ridge: float) -> None:
    x, y = sides()
    found = ridge_cca(Spectrum.of(x), Spectrum.of(y), ridge)
    a, b = x.numpy(), y.numpy()
    within = [s.T @ s / len(s) + ridge * np.eye(s.shape[1]) for s in (a, b)]
    across = a.T @ b / len(a)
    left = across @ np.linalg.solve(within[1], across.T)
    squares = eigh(left, within[0], eigvals_only=True)[::-1][:4]
    np.testing.assert_allclose(found.correlations.numpy() ** 2, squares, atol=1e-10)
    for side, covariance in ((found.a, within[0]), (found.b, within[1])):
        np.testing.assert_allclose(side.numpy().T @ covariance @ side.numpy(), np.eye(4), atol=1e-9)


def test_turning_a_side_changes_no_projection() -> None:
    x, y = sides()
    turn = torch.linalg.qr(centred(6, 6, seed=9))[0]
    plain = ridge_cca(Spectrum.of(x), Spectrum.of(y), 0.1)
    turned = ridge_cca(Spectrum.of(x @ turn), Spectrum.of(y), 0.1)
    torch.testing.assert_close(plain.correlations, turned.correlations)
    torch.testing.assert_close((x @ plain.a).abs(), (x @ turn @ turned.a).abs())


def test_the_rank_of_the_own_pair_is_that_of_a_sort() -> None:
    rng = np.random.default_rng(3)
    x, y = rng.standard_normal((2, 20, 3))
    similar = (x @ y.T) / np.outer(np.linalg.norm(x, axis=1), np.linalg.norm(y, axis=1))
    ranks = [1 + (row > row[i]).sum() for s in (similar, similar.T) for i, row in enumerate(s)]
    found = own_pair_rank(torch.from_numpy(x), torch.from_numpy(y))
    assert found == pytest.approx(np.mean(1 / np.array(ranks)))
    same = torch.ones(20, 3)  # all tie: in the middle of twenty
    assert own_pair_rank(same, same) == pytest.approx(1 / 10.5)


def test_random_features_stand_for_a_gaussian_kernel() -> None:
    model = build("kernel-cca", "model.features=20000")
    x = centred(12, model.config.model.width(BANDS["a"]), seed=5)
    model._buffer("width", "a").fill_(3.0)
    features = model._features(x, "a")  # not centred yet
    kernel = torch.exp(-torch.cdist(x, x).square() / (2 * 3.0**2))
    assert (features @ features.T - kernel).abs().max() < 0.05


@pytest.mark.parametrize("name", ["ridge-cca", "kernel-cca"])
def test_what_both_sides_share_is_found_and_saved(name: str, tmp_path: Path) -> None:
    few = ("model.features=60",) if name == "kernel-cca" else ()
    model = build(name, *few)
    chosen = model.fit(SharedTone(300), SharedTone(80, seed=1))  # type: ignore[arg-type]
    table = model.config.model
    assert chosen["ridge"] in table.ridge and chosen["power"] in table.power
    counts = {min(count, 60 if few else table.width(1)) for count in table.components}
    widths = len(table.bandwidth) if few else 1
    assert chosen["tries"] == widths * len(table.ridge) * len(counts) * len(table.power)
    test = SharedTone(80, seed=2)
    found = [model.embed(test.sides[m], m)["projected"] for m in ("a", "b")]  # type: ignore[arg-type]
    rank = own_pair_rank(*found)
    assert rank > 5 * own_pair_rank(found[0], found[1].flip(0)), "against a wrong pairing"
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    again = build(name, *few)
    again.load_state_dict(load_file(tmp_path / "w.safetensors"))
    torch.testing.assert_close(
        again.embed(test.sides["b"], "b")["projected"], found[1], rtol=0, atol=0
    )
    within = "statistics" if name == "ridge-cca" else "projected"
    assert (model.view("a", "aa", "query"), model.view("a", "ab", "query")) == (within, "projected")


def test_without_val_a_fifth_is_held_back_and_too_few_are_refused() -> None:
    model = build("ridge-cca")
    chosen = model.fit(SharedTone(200))  # type: ignore[arg-type]
    assert 0 < chosen["val_mrr"] <= 1
    with pytest.raises(UserError, match="too few to fit and choose by"):
        model.fit(SharedTone(12))  # type: ignore[arg-type]


def test_the_choice_is_made_on_val_and_no_test_pair_is_read(tmp_path: Path) -> None:
    """Another test split, the same training and validation pairs: the same choice, recorded."""
    found = []
    for test in (40, 20):
        sizes = [f"source.splits.{n}={k}" for n, k in (("train", 96), ("val", 24), ("test", test))]
        cache = tmp_path / f"{test}.h5"
        build_cache(load_dataset("ben-14k-twin", overrides=sizes), cache, quiet=True)
        run = train("ridge-cca", "ben-14k-twin", cache=cache, out=tmp_path / str(test), quiet=True)
        found.append((RunFolder(run).read().final_terms, load_file(run / "weights.safetensors")))
    assert found[0][0] == found[1][0] and found[0][0]["tries"] > 50
    for name, value in found[0][1].items():
        assert torch.equal(value, found[1][1][name])
    assert 0 < found[0][0]["val_mrr"] <= 1


def test_another_seed_draws_other_features(twin_cache: Path, tmp_path: Path) -> None:
    drawn = []
    for seed in (0, 1):
        card = tmp_path / f"{seed}"
        run = train(
            "kernel-cca", "ben-14k-twin", overrides=["model.features=40"], cache=twin_cache,
            out=card, seed=seed, quiet=True,
        )  # fmt: skip
        drawn.append(load_file(run / "weights.safetensors")["drawn_a"])
    assert not torch.equal(*drawn)
