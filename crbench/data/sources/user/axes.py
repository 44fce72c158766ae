"""Where samples, channels, rows and columns lie in arrays of images: sizes tell it, or content.

MATLAB reverses axes, so that samples may come last and columns before rows. Which axis of a square
image is the vertical one cannot be told: both arrays are taken alike, so that pairs stay aligned.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations, product
from pathlib import Path

import h5py
import numpy as np

from crbench.cards import DatasetCard, ModalityCard
from crbench.data.sources.raw import other_than_card

Axes = tuple[int, ...]  # where samples, channels, rows and columns lie in the file
_LOOK = 32  # samples that tell which axes are spatial, where sizes do not
_USUAL = ((0, 1, 2, 3), (3, 2, 1, 0))
_ORDERS = [  # as they lie, or all reversed; channels may be anywhere
    axes
    for axes in permutations(range(4))
    if axes[0] < axes[2] < axes[3] or axes[0] > axes[2] > axes[3]
]


def axes_of_pairs(
    arrays: Mapping[str, h5py.Dataset], card: DatasetCard, path: Path
) -> dict[str, Axes]:
    """The axes of the arrays ``a`` and ``b``; another size or dtype than the card's is a UserError.

    Where several orders fit the sizes: the usual ones before others, the same for both arrays, and
    then by content: along rows and columns neighbouring pixels are alike, along samples and
    channels they are not.
    """
    a, b = arrays["a"], arrays["b"]
    pairs = list(product(_fitting(a, card.a, path), _fitting(b, card.b, path)))
    pairs = [pair for pair in pairs if (pair[0][0] == 0) == (pair[1][0] == 0)] or pairs
    if len(pairs) > 1:
        pairs.sort(key=lambda pair: _roughness(a, pair[0]) + _roughness(b, pair[1]))
    return {"a": pairs[0][0], "b": pairs[0][1]}


def _fitting(array: h5py.Dataset, modality: ModalityCard, path: Path) -> list[Axes]:
    """Orders of axes that fit an array's sizes: the two usual ones if any does, else others."""
    shape, orders = array.shape, _ORDERS if array.ndim == 4 else []
    if array.ndim == 3:  # one band without an axis of its own
        shape, orders = (shape[0], 1, *shape[1:]), [_USUAL[0]]
    image = (len(modality.bands), *modality.size)
    fits = [axes for axes in orders if tuple(shape[k] for k in axes[1:]) == image]
    if not fits or array.dtype.newbyteorder("=") != np.dtype(modality.dtype):
        raise other_than_card(f"'{array.name[1:]}'", array, modality, where=path)
    return [axes for axes in fits if axes in _USUAL] or fits


def _roughness(array: h5py.Dataset, axes: Axes) -> float:
    """Mean difference of neighbours along rows and along columns, over a corner of the array."""
    corner = array[tuple(slice(min(side, _LOOK)) for side in array.shape)]
    pixels = _arranged(corner, axes).astype(np.float64)
    steps = [np.abs(np.diff(pixels, axis=k)) for k in (2, 3)]
    return sum(float(step.mean()) if step.size else np.inf for step in steps)


def _arranged(block: np.ndarray, axes: Axes) -> np.ndarray:
    return block[:, None] if block.ndim == 3 else block.transpose(axes)


def read_rows(array: h5py.Dataset, axes: Axes, start: int, stop: int) -> np.ndarray:
    """Samples ``start`` to ``stop``, (n, C, H, W), in the machine's byte order."""
    block = _arranged(array[(slice(None),) * axes[0] + (slice(start, stop),)], axes)
    return np.ascontiguousarray(block, dtype=block.dtype.newbyteorder("="))


def axes_in_words(axes: Axes) -> str:
    """``"(W, H, C, N)"`` where all is reversed."""
    return "(" + ", ".join("NCHW"[axes.index(k)] for k in range(4)) + ")"
