"""Reading a cache's arrays from end to end: digests, statistics, what is damaged."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

CHECK_BYTES = 8
_BLOCK_BYTES = 8 * 2**20


@dataclass
class Scan:
    """``sha256`` of all bytes in row order; ``checks`` (N, 8) uint8, a digest per sample;
    ``mean`` and ``std`` per band over the chosen rows, (C,) float64, None where not asked for.

    Of images, per sample and band, (N, C) float64: ``low`` and ``high``, NaN where a pixel is, and
    ``invalid``, the share of pixels that are not finite, or 0 in every band: the fill of no data.
    """

    sha256: str
    checks: np.ndarray
    low: np.ndarray
    high: np.ndarray
    invalid: np.ndarray
    mean: np.ndarray | None = None
    std: np.ndarray | None = None


def scan(
    array: np.ndarray,
    *,
    train: np.ndarray | None = None,
    advance: Callable[[int], object] | None = None,
) -> Scan:
    """One pass over ``array`` (N, ...), in blocks, in row order.

    ``train`` (N,) bool: rows whose band statistics are wanted, for images (N, C, H, W). The
    statistics merge block means and squared deviations (Chan et al. 1983) in float64, so that
    they do not suffer from large offsets. ``advance`` is called with the bytes just read.
    """
    whole = hashlib.sha256()
    checks = np.zeros((len(array), CHECK_BYTES), dtype=np.uint8)
    step = max(1, _BLOCK_BYTES // max(1, array[:1].nbytes))
    low, high, invalid = np.zeros((3, len(array), array.shape[1] if array.ndim == 4 else 0))
    count, mean, deviation = 0, 0.0, 0.0
    for start in range(0, len(array), step):
        block = np.ascontiguousarray(array[start : start + step])
        raw = block.reshape(len(block), -1).view(np.uint8).data
        whole.update(raw)
        for row in range(len(block)):
            digest = hashlib.blake2b(raw[row : row + 1], digest_size=CHECK_BYTES).digest()
            checks[start + row] = np.frombuffer(digest, dtype=np.uint8)
        if array.ndim == 4:
            rows = slice(start, start + len(block))
            low[rows], high[rows] = block.min((2, 3)), block.max((2, 3))
            invalid[rows] = _invalid(block, low[rows], high[rows])
        if train is not None and (chosen := train[start : start + step]).any():
            values = block[chosen].astype(np.float64)
            n = values.size // values.shape[1]
            centre = values.mean((0, 2, 3))
            spread = ((values - centre[:, None, None]) ** 2).sum((0, 2, 3))
            shift = centre - mean
            deviation = deviation + spread + shift**2 * (count * n / (count + n))
            mean = mean + shift * (n / (count + n))
            count += n
        if advance is not None:
            advance(block.nbytes)
    result = Scan(whole.hexdigest(), checks, low=low, high=high, invalid=invalid)
    if count:
        result.mean, result.std = np.asarray(mean), np.sqrt(deviation / count)
    return result


def _invalid(block: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Share of invalid pixels per sample and band (n, C); looks only where there may be some."""
    shares = np.zeros(low.shape)
    odd = ~np.isfinite(low).all(1) | ~np.isfinite(high).all(1) | ((low <= 0) & (high >= 0)).all(1)
    for row in np.flatnonzero(odd):
        pixels = block[row]
        shares[row] = (~np.isfinite(pixels) | (pixels == 0).all(0)).mean((1, 2))
    return shares
