"""Pairs on the training device: kept there in native dtype, resized and normalised in batch.

Keys, orders and augmentations are integer hashes of (seed, epoch, key), so that they depend
neither on the order of a batch nor on library versions, devices or ranks.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from crbench.data.cache import Cache
from crbench.seeds import derive

MODALITIES = ("a", "b")


class Pairs:
    """The pairs of ``splits``, in file order, resident in memory.

    ``rows`` (n,) int64 numpy: rows of the cache. ``keys`` (n,) int64 tensor: 63-bit hashes of
    the ids. Batches are float32, z-scored per band, ``image_size`` pixels square.
    """

    def __init__(
        self,
        cache: Cache,
        splits: Sequence[str],
        *,
        image_size: int,
        device: torch.device | str = "cpu",
        modalities: Sequence[str] = MODALITIES,
    ) -> None:
        self.rows = cache.rows(splits)
        self.image_size = image_size
        self.device = torch.device(device)
        names = [str(name) for name in cache.ids[self.rows]]
        self.keys = torch.tensor([derive(name) for name in names], dtype=torch.int64)
        self.keys = self.keys.to(self.device)
        need = sum(cache.images(which)[:1].nbytes for which in modalities) * len(self.rows)
        self.home = self._home(need)
        self._native = {
            which: _resident(cache, which, self.rows, self.home) for which in modalities
        }
        self._affine = {}
        for which in modalities:
            stats = cache.stats(which)
            mean, std = (
                torch.tensor(stats[key], dtype=torch.float32, device=self.device)[:, None, None]
                for key in ("mean", "std")
            )
            self._affine[which] = (mean, std)

    def _home(self, need: int) -> torch.device:
        """The device where the pixels take at most half of what is free there, else main memory."""
        if self.device.type == "cuda" and need > torch.cuda.mem_get_info(self.device)[0] // 2:
            return torch.device("cpu")
        return self.device

    def __len__(self) -> int:
        return len(self.rows)

    def images(self, modality: str, positions: np.ndarray | Tensor) -> Tensor:
        """Images (B, C, S, S) float32 on the device of the pairs at ``positions`` in 0…len−1."""
        index = torch.as_tensor(positions, dtype=torch.int64).to(self.home)
        native = self._native[modality].index_select(0, index).to(self.device)
        if native.dtype == torch.int16:  # uint16 in disguise, see _resident
            native = native.to(torch.int32) & 0xFFFF
        mean, std = self._affine[modality]
        return resize((native.to(torch.float32) - mean) / std, self.image_size)

    def batch(self, positions: np.ndarray | Tensor) -> dict[str, Tensor]:
        """``a`` and ``b`` (B, C, S, S) float32, ``keys`` (B,) int64 and ``rows`` (B,) int64."""
        index = torch.as_tensor(positions, dtype=torch.int64)
        found = {which: self.images(which, index) for which in self._native}
        rows = torch.from_numpy(self.rows)[index.cpu()]
        return {**found, "keys": self.keys[index.to(self.device)], "rows": rows}


def _resident(cache: Cache, modality: str, rows: np.ndarray, device: torch.device) -> Tensor:
    """Native pixels of ``rows`` in memory. uint16 travels as int16, whose indexing torch has on
    every device; the bits are the same."""
    pixels = np.array(cache.images(modality)[rows])
    if pixels.dtype == np.uint16:
        pixels = pixels.view(np.int16)
    return torch.from_numpy(pixels).to(device)


def resize(images: Tensor, size: int) -> Tensor:
    """(B, C, H, W) → (B, C, size, size): area averages for a whole factor, else antialiased
    bilinear; enlarging is bilinear."""
    height, width = images.shape[-2:]
    if (height, width) == (size, size):
        return images
    if height % size == 0 and width % size == 0:
        return functional.avg_pool2d(images, (height // size, width // size))
    return functional.interpolate(
        images, (size, size), mode="bilinear", antialias=True, align_corners=False
    )


def epoch_order(n: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of 0…n−1, (n,) int64, from (seed, epoch) alone."""
    start = np.uint64(derive("order", seed, epoch))
    return np.argsort(_mix_numpy(np.arange(n, dtype=np.uint64) + start), kind="stable")


def _mix_numpy(x: np.ndarray) -> np.ndarray:
    """SplitMix64 (Steele et al. 2014), vectorised, modulo 2⁶⁴."""
    x = x * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def _signed(value: int) -> int:
    value &= 2**64 - 1
    return value - 2**64 if value >= 2**63 else value


def hash_keys(keys: Tensor, *names: object) -> Tensor:
    """63-bit hashes (…) int64 ≥ 0 of ``keys`` (…) int64 under a purpose, on the keys' device."""
    x = (keys ^ derive(*names)) * _signed(0x9E3779B97F4A7C15)
    # Shifts of int64 keep the sign: mask what they pull in.
    x = (x ^ ((x >> 30) & (2**34 - 1))) * _signed(0xBF58476D1CE4E5B9)
    x = (x ^ ((x >> 27) & (2**37 - 1))) * _signed(0x94D049BB133111EB)
    return (x ^ ((x >> 31) & (2**33 - 1))) & (2**63 - 1)


@lru_cache(maxsize=16)
def _symmetries(side: int, device: torch.device) -> Tensor:
    """(8, side²) int64: where each pixel comes from under the eight symmetries of the square."""
    grid = torch.arange(side * side, device=device).reshape(side, side)
    turns = [torch.rot90(grid, k) for k in range(4)]
    return torch.stack([x.flatten() for t in turns for x in (t, t.flip(-1))])


def dihedral(batch: dict[str, Tensor], seed: int, epoch: int) -> dict[str, Tensor]:
    """The batch with each pair turned or mirrored, both modalities alike: one of the square's
    eight symmetries, drawn from (seed, epoch, key). Images must be square."""
    draw = (hash_keys(batch["keys"], "dihedral", seed, epoch) >> 20) % 8
    turned = dict(batch)
    for which in MODALITIES:
        if which in batch:
            images = batch[which]
            source = _symmetries(images.shape[-1], images.device)[draw]
            source = source[:, None].expand(-1, images.shape[1], -1)
            turned[which] = images.flatten(2).gather(2, source).view_as(images)
    return turned
