"""Pairs on the training device: native pixels from a store, resized and normalised in batch.

Keys, orders and augmentations are integer hashes of (seed, epoch, key), so that they depend
neither on the order of a batch nor on library versions, devices or ranks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from crbench.data.cache.reading import Cache
from crbench.data.pixels import Resident, Store, Streamed, ahead, home_of, upload
from crbench.errors import UserError
from crbench.seeds import GOLDEN, derive, finalise
from crbench.words import MODALITIES


class Pairs:
    """The pairs of ``splits``, in file order: on the device, in memory or streamed from the file.

    ``rows`` (n,) int64 numpy: rows of the cache; ``ids`` (n,) str. ``keys`` (n,) int64 tensor:
    63-bit hashes of the ids. Batches are float32, z-scored per band, ``image_size`` pixels square,
    and the same to the bit wherever the pixels live; ``loading`` (auto, memory, stream) forces
    where.
    """

    def __init__(
        self,
        cache: Cache,
        splits: Sequence[str],
        *,
        image_size: int,
        device: torch.device | str = "cpu",
        modalities: Sequence[str] = MODALITIES,
        loading: str = "auto",
    ) -> None:
        self.rows = cache.rows(splits)
        self.splits = list(splits)
        self.image_size = image_size
        self.device = torch.device(device)
        self.ids = cache.ids[self.rows]
        self.keys = torch.tensor([derive(str(name)) for name in self.ids], dtype=torch.int64)
        self.keys = self.keys.to(self.device)
        self.nbytes = sum(cache.images(which)[:1].nbytes for which in modalities) * len(self.rows)
        self.home = home_of(self.nbytes, self.device, loading)
        self.stores: dict[str, Store] = {}
        self._affine: dict[str, tuple[Tensor, Tensor]] = {}
        for which in modalities:
            if self.home is None:
                self.stores[which] = Streamed(cache, which, self.rows, self.device)
            else:
                self.stores[which] = Resident(cache, which, self.rows, self.home, self.device)
            self._affine[which] = band_tensors(cache.stats(which), self.device)

    @property
    def figure(self) -> str:
        """How much it is and where it lives, e.g. ``train split 0.6 GB, resident in memory``."""
        where = "streamed from the file"
        if self.home is not None:
            where = "resident " + ("on the GPU" if self.home.type == "cuda" else "in memory")
        return f"{' + '.join(self.splits)} split {self.nbytes / 1e9:.1f} GB, {where}"

    def __len__(self) -> int:
        return len(self.rows)

    def images(self, modality: str, positions: np.ndarray | Tensor) -> Tensor:
        """Images (B, C, S, S) float32 on the device of the pairs at ``positions`` in 0…len−1."""
        return self._normalised(modality, self.stores[modality].take(np.asarray(positions)))

    def batch(self, positions: np.ndarray | Tensor) -> dict[str, Tensor]:
        """``a`` and ``b`` (B, C, S, S) float32, ``keys`` (B,) int64 and ``rows`` (B,) int64."""
        at = np.asarray(positions)
        return self._whole(at, {which: store.take(at) for which, store in self.stores.items()})

    def batches(self, blocks: Sequence[np.ndarray]) -> Iterator[dict[str, Tensor]]:
        """``batch`` of every block of positions, in order; streamed pixels are read ahead."""
        with contextlib.closing(self.native(blocks)) as stream:
            for block, native in zip(blocks, stream, strict=True):
                yield self._whole(block, native)

    def native(self, blocks: Sequence[np.ndarray]) -> Generator[dict[str, Tensor], None, None]:
        """Pixels of every block on the device, in native dtype (uint16 as int16), not to be kept:
        the next block may lie in the same room."""
        streamed = {w: s for w, s in self.stores.items() if isinstance(s, Streamed)}
        if streamed:
            yield from ahead(streamed, blocks)
            return
        for block in blocks:
            yield {which: store.take(block) for which, store in self.stores.items()}

    def _whole(self, positions: np.ndarray, native: dict[str, Tensor]) -> dict[str, Tensor]:
        images = {which: self._normalised(which, pixels) for which, pixels in native.items()}
        rows = torch.from_numpy(self.rows[positions])
        return {**images, "keys": self.keys[upload(positions, self.device)], "rows": rows}

    def _normalised(self, modality: str, native: Tensor) -> Tensor:
        if native.dtype == torch.int16:  # uint16 in disguise, see stores
            native = native.to(torch.int32) & 0xFFFF
        return normalise(native, *self._affine[modality], self.image_size)


def band_tensors(
    statistics: Mapping[str, Any], device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """``mean`` and ``std`` (C,) of ``statistics``, in stored units, as (C, 1, 1) float32."""
    mean, std = (
        torch.tensor(statistics[key], dtype=torch.float32, device=device)[:, None, None]
        for key in ("mean", "std")
    )
    return mean, std


def normalise(native: Tensor, mean: Tensor, std: Tensor, size: int) -> Tensor:
    """(B, C, H, W) of any real dtype, in stored units → (B, C, size, size) float32 z-scores.

    ``mean`` and ``std`` (C, 1, 1) float32 on the pixels' device, see :func:`band_tensors`.
    """
    return resize((native.to(torch.float32) - mean) / std, size)


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
    numbers = np.arange(n, dtype=np.int64) + np.int64(derive("order", seed, epoch))
    return np.argsort(finalise(numbers * GOLDEN).view(np.uint64), kind="stable")


def epoch_batches(
    n: int, seed: int, epoch: int, size: int, *, start: int = 0, rank: int = 0, world: int = 1
) -> list[np.ndarray]:
    """Positions of each whole batch of an epoch from batch ``start`` on; the rest is left out.

    Of ``world`` ranks, each takes its own equal slice of every batch of ``size``: put one after
    the other they are the batch of one process. A size that they cannot share is a UserError.
    """
    if size % world or not 0 <= rank < world:
        raise UserError(
            f"rank {rank} of {world} has no equal share of a batch of {size}",
            where="train.batch_size",
            fix=f"take a multiple of {world}",
        )
    order, share = epoch_order(n, seed, epoch), size // world
    first = [index * size + rank * share for index in range(start, n // size)]
    return [order[at : at + share] for at in first]


def hash_keys(keys: Tensor, *names: object) -> Tensor:
    """63-bit hashes (…) int64 ≥ 0 of ``keys`` (…) int64 under a purpose, on the keys' device."""
    hashes: Tensor = finalise((keys ^ derive(*names)) * GOLDEN) & (2**63 - 1)
    return hashes


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
