"""Bands to pictures: which bands are shown, and how their values are stretched to a screen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crbench.cards import ModalityCard

_LOW, _HIGH = 1.0, 99.0  # percentiles that become black and white
_COMMON = 0.6  # how far an image's limits widen to the usual ones: 0 not at all, 1 all the way


def channels(images: np.ndarray, card: ModalityCard) -> np.ndarray:
    """The shown channels of ``images`` (N, C, H, W): (N, 1 or 3, H, W) float32.

    One display band is grey, three are red, green and blue. Two are a radar composite: the
    first (VV) red, the second (VH) green, and their ratio blue, in dB their difference.
    """
    picked = images[:, [card.bands.index(band) for band in card.display]].astype(np.float32)
    if picked.shape[1] != 2:
        return picked
    first, second = picked[:, :1], picked[:, 1:]
    if card.units.strip().lower().startswith("db"):
        ratio = first - second
    else:
        ratio = first / np.maximum(second, np.finfo(np.float32).tiny)
    return np.concatenate([first, second, ratio], axis=1)


def usual_limits(images: np.ndarray, card: ModalityCard) -> tuple[np.ndarray, np.ndarray]:
    """The median over ``images`` (N, C, H, W) of the percentiles of each shown channel: what
    becomes black and what white, (1 or 3,) each."""
    low, high = _percentiles(channels(images, card))
    return np.median(low, axis=0), np.median(high, axis=0)


def stretch(values: np.ndarray, usual: tuple[np.ndarray, np.ndarray] | None = None) -> np.ndarray:
    """Percentile stretch of (N, C, H, W) to [0, 1], per image and channel.

    An image's limits are its own percentiles, widened towards the ``usual`` ones, by default the
    median ones of all images. So one image's snow or clouds do not darken the others, water stays
    darker than land and its noise is not blown up, colours are balanced by the whole set, and every
    image can be read. Values that are not finite become black.
    """
    own_low, own_high = _percentiles(values)
    low, high = usual or (np.median(own_low, axis=0), np.median(own_high, axis=0))
    low = own_low + _COMMON * np.minimum(low - own_low, 0)
    high = own_high + _COMMON * np.maximum(high - own_high, 0)
    width = np.maximum(high - low, 1e-6)
    scaled = (values - low[..., None, None]) / width[..., None, None]
    return np.clip(np.nan_to_num(scaled, nan=0.0), 0.0, 1.0).astype(np.float32)


def _percentiles(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The limits of each image and channel by itself, (N, C) each."""
    flat = np.where(np.isfinite(values), values, np.nan).reshape(*values.shape[:2], -1)
    flat = np.where(np.isnan(flat).all(axis=2, keepdims=True), 0.0, flat)
    low, high = np.nanpercentile(flat, [_LOW, _HIGH], axis=2)
    return low, high


def pictures(
    images: np.ndarray | Sequence[np.ndarray],
    card: ModalityCard,
    usual: tuple[np.ndarray, np.ndarray] | None = None,
) -> np.ndarray:
    """Images (N, C, H, W) in native units as (N, H, W, 3) float32 in [0, 1], ready to be drawn.

    ``usual`` limits (:func:`usual_limits`) make images that are drawn one by one look alike.
    """
    drawn = stretch(channels(np.asarray(images), card), usual)
    if drawn.shape[1] == 1:
        drawn = np.repeat(drawn, 3, axis=1)
    return np.ascontiguousarray(drawn.transpose(0, 2, 3, 1))
