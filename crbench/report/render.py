"""Bands to pictures: which bands are shown, and how their values are stretched to a screen."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from crbench.cards import ModalityCard

LOW, HIGH = 2.0, 98.0  # percentiles of an image that become black and white
FLATTEST = 0.5  # an image is stretched as if it had at least this share of the usual contrast


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


def stretch(values: np.ndarray, *, common: bool) -> np.ndarray:
    """Percentile stretch of (N, C, H, W) to [0, 1]; values that are not finite become black.

    Colour is stretched per image, so that one image's clouds or snow do not darken the others: each
    channel starts at its own dark end and all have one width, which keeps the hue. That width is at
    least half the median one, for a flat image, open water say, not to show its noise at full
    contrast; a dark flat image stays dark. Grey and radar composites get limits common to all
    images (``common``), since in radar the level itself tells land from water.
    """
    flat = np.where(np.isfinite(values), values, np.nan).reshape(*values.shape[:2], -1)
    flat = np.where(np.isnan(flat).all(axis=2, keepdims=True), 0.0, flat)
    if common:
        start, end = np.nanpercentile(flat, [LOW, HIGH], axis=(0, 2))[:, None]
        width = np.maximum(end - start, 1e-6)
    else:
        start, width = _per_image(flat)
    shown = (values - start[..., None, None]) / width[..., None, None]
    return np.clip(np.nan_to_num(shown, nan=0.0), 0.0, 1.0).astype(np.float32)


def _per_image(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Start (N, C) and width (N, 1) of the stretch of each image of (N, C, pixels)."""
    low, high = np.nanpercentile(flat, [LOW, HIGH], axis=2)
    own = (high - low).max(axis=1, keepdims=True)
    width = np.maximum(np.maximum(own, FLATTEST * np.median(own)), 1e-6)
    level = low.mean(axis=1, keepdims=True)
    place = (level - level.min()) / max(float(level.max() - level.min()), 1e-6)  # 0 the darkest
    return low - place * (width - own), width


def pictures(images: np.ndarray | Sequence[np.ndarray], card: ModalityCard) -> np.ndarray:
    """Images (N, C, H, W) in native units as (N, H, W, 3) float32 in [0, 1], ready to be drawn."""
    shown = stretch(channels(np.asarray(images), card), common=len(card.display) < 3)
    if shown.shape[1] == 1:
        shown = np.repeat(shown, 3, axis=1)
    return np.ascontiguousarray(shown.transpose(0, 2, 3, 1))
