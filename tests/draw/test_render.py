"""Bands to pictures: which are shown, and how they are stretched."""

from __future__ import annotations

import numpy as np
import pytest

from crbench.cards import ModalityCard
from crbench.data.cache.reading import Cache
from crbench.draw.render import channels, pictures, stretch, usual_limits


def modality(bands: list[str], display: list[str], units: str = "DN") -> ModalityCard:
    return ModalityCard(
        name="X",
        sensor="x",
        bands=bands,
        size=(4, 4),
        dtype="float32",
        units=units,
        display=display,
    )


def test_true_colour_takes_the_named_bands_in_order() -> None:
    card = modality(["B02", "B03", "B04"], ["B04", "B03", "B02"])
    images = np.arange(2 * 3 * 4 * 4, dtype=np.float32).reshape(2, 3, 4, 4)
    assert np.array_equal(channels(images, card), images[:, ::-1])
    assert pictures(images, card).shape == (2, 4, 4, 3)


def test_radar_pairs_add_their_ratio() -> None:
    images = np.full((1, 2, 4, 4), 6.0, np.float32)
    images[:, 1] = 2.0
    db = channels(images, modality(["VV", "VH"], ["VV", "VH"], "dB"))
    power = channels(images, modality(["VV", "VH"], ["VV", "VH"], "power"))
    assert (db[:, 2] == 4.0).all() and (power[:, 2] == 3.0).all()


def test_grey_is_grey_and_keeps_the_level_between_images() -> None:
    rng = np.random.default_rng(0)
    images = rng.normal(size=(2, 1, 16, 16)).astype(np.float32)
    images[1] += 10
    shown = pictures(images, modality(["VV"], ["VV"], "dB"))
    assert (shown[..., 0] == shown[..., 1]).all() and (shown[..., 0] == shown[..., 2]).all()
    assert shown[1].mean() - shown[0].mean() > 0.3


def test_colour_is_stretched_per_image() -> None:
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(3, 3, 32, 32)).astype(np.float32)
    images[2] *= 100  # one image of snow must not darken the others
    shown = stretch(images)
    assert all(0.4 < shown[i].mean() < 0.6 for i in range(3))


def test_flat_dark_water_stays_dark_and_damage_is_black() -> None:
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(4, 3, 32, 32)).astype(np.float32)
    images[0] = images[0] * 1e-3
    images[1, :, 0, 0] = np.nan
    images[2] = np.nan
    shown = stretch(images)
    assert shown[0].mean() < 0.05
    assert (shown[1, :, 0, 0] == 0).all() and (shown[2] == 0).all() and np.isfinite(shown).all()


@pytest.mark.parametrize("which", ["a", "b"])
def test_pictures_one_by_one_are_those_of_the_whole(cache: Cache, which: str) -> None:
    card, images = cache.card.modality(which), np.asarray(cache.images(which)[:20])
    usual = usual_limits(images, card)
    one = np.concatenate([pictures(image[None], card, usual) for image in images])
    np.testing.assert_array_equal(one, pictures(images, card))
    assert (one != np.concatenate([pictures(image[None], card) for image in images])).any()
