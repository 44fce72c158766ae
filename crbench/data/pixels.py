"""Where native pixels live while they are used: on the device, in memory, or in the file.

A store gives the pixels of some positions in native dtype, on the training device; what it gives
does not depend on where they live. uint16 travels as int16, whose indexing torch has on every
device; the bits are the same.
"""

from __future__ import annotations

import contextlib
import os
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crbench.data.cache.reading import Cache
from crbench.errors import unknown
from crbench.scoring.engine import available_memory

LOADING = ("auto", "memory", "stream")
AHEAD = 4  # batches in memory at most: the one in use and those that are read before their turn
_WORKERS = 2  # threads that read: numpy copies without the interpreter lock
_CHUNK_BYTES = 64 * 2**20


def home_of(need: int, device: torch.device, loading: str) -> torch.device | None:
    """Where ``need`` bytes of pixels live: ``device``, main memory, or None: they stay in the file.

    ``auto`` takes the first of the three where they fill at most half of what is free; ``memory``
    never leaves them in the file, ``stream`` always.
    """
    if loading not in LOADING:
        raise unknown("loading", loading, LOADING, where="--loading")
    if loading == "stream":
        return None
    if device.type == "cuda" and need <= torch.cuda.mem_get_info(device)[0] // 2:
        return device
    fits = need <= available_memory() // 2
    main = device if device.type != "cuda" else torch.device("cpu")
    return main if fits or loading == "memory" else None


class Resident:
    """Pixels of all positions, loaded once; ``bands`` as in ``Cache.band_positions``."""

    def __init__(
        self, cache: Cache, modality: str, rows: np.ndarray, home: torch.device, device: Any
    ) -> None:
        self.device = device
        self.pixels = load_pixels(cache, modality, rows).to(home)

    def take(self, positions: np.ndarray) -> Tensor:
        """Native pixels (B, C, H, W) on the device."""
        first, count = int(positions[0]) if len(positions) else 0, len(positions)
        if count and positions[-1] - first == count - 1 and (np.diff(positions) == 1).all():
            native = self.pixels[first : first + count]  # a view: nothing is copied
        elif self.pixels.device.type == "cpu":  # numpy's new arrays take large pages, torch's not
            native = torch.from_numpy(self.pixels.numpy()[positions])
        else:
            native = self.pixels.index_select(0, upload(positions, self.pixels.device))
        return native.to(self.device, non_blocking=True)


class Streamed:
    """Pixels that stay in the file, memory-mapped at their offset, and are read when asked for."""

    def __init__(self, cache: Cache, modality: str, rows: np.ndarray, device: torch.device) -> None:
        self.cache, self.modality, self.rows, self.device = cache, modality, rows, device
        bands = cache.band_positions(modality)
        self.bands = None if bands is None else upload(bands, device)
        self.spare: list[Tensor] = []

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "spare": []}

    def take(self, positions: np.ndarray) -> Tensor:
        """Native pixels (B, C, H, W) on the device, read now."""
        images = _signed(self.cache.images(self.modality))
        return self.deliver(torch.from_numpy(images[self.rows[positions]]))

    def ask(self, file: int, positions: np.ndarray) -> None:
        """Have the system read the images at ``positions`` into its cache, without waiting."""
        images, rows = self.cache.images(self.modality), np.unique(self.rows[positions])
        ends = np.flatnonzero(np.diff(rows, append=-1) != 1)
        starts = np.concatenate([[0], ends[:-1] + 1])
        one = images[:1].nbytes
        for first, last in zip(rows[starts].tolist(), rows[ends].tolist(), strict=True):
            span = (last - first + 1) * one
            os.posix_fadvise(file, images.offset + first * one, span, os.POSIX_FADV_WILLNEED)

    def buffer(self, size: int) -> Tensor:
        """Room for ``size`` images in memory from which a GPU copies without waiting.

        One that was given back (``spare``) where it is large enough: pinning takes long.
        """
        while self.spare:
            if len(room := self.spare.pop()) >= size:
                return room
        images = self.cache.images(self.modality)
        dtype = torch.from_numpy(_signed(np.empty(0, images.dtype))).dtype
        pinned = self.device.type == "cuda"
        return torch.empty((size, *images.shape[1:]), dtype=dtype, pin_memory=pinned)

    def read(self, positions: np.ndarray, out: Tensor) -> Tensor:
        """Copy the images at ``positions`` to the head of ``out``, all bands as stored."""
        images = _signed(self.cache.images(self.modality))
        room = out[: len(positions)]
        # positions are valid, so that "clip" changes nothing but sparing numpy a second buffer
        np.take(images, self.rows[positions], axis=0, out=room.numpy(), mode="clip")
        return room

    def deliver(self, native: Tensor) -> Tensor:
        """What was read, on the device, in the bands and the order that are used."""
        there = native.to(self.device, non_blocking=True)
        return there if self.bands is None else there.index_select(1, self.bands)


Store = Resident | Streamed


def ahead(
    stores: dict[str, Streamed], blocks: Sequence[np.ndarray]
) -> Generator[dict[str, Tensor], None, None]:
    """Native pixels of every block of positions, in order, read before they are asked for.

    What is given must not be kept. For a GPU, threads copy it into pinned memory while it computes.
    On a processor that would only take time from the training: there the system is asked to bring
    what comes next into memory, and the copy is made in its turn.
    """
    gpu = any(store.device.type == "cuda" for store in stores.values())
    yield from (by_threads if gpu else _by_system)(stores, blocks)


def _by_system(
    stores: dict[str, Streamed], blocks: Sequence[np.ndarray]
) -> Generator[dict[str, Tensor], None, None]:
    """Copies made here. Once pages came from the disk, the system is asked for those of the next
    ``AHEAD`` blocks, which it reads meanwhile; while it holds them all, asking costs time."""
    with contextlib.ExitStack() as opened:
        files = {s: opened.enter_context(open(s.cache.path, "rb")) for s in stores.values()}
        requested = 0
        for k, block in enumerate(blocks):
            before = from_disk()
            batch = {name: store.take(block) for name, store in stores.items()}
            if from_disk() > before:
                for upcoming in blocks[max(requested, k + 1) : k + 1 + AHEAD]:
                    for store, file in files.items():
                        store.ask(file.fileno(), upcoming)
                requested = k + 1 + AHEAD
            yield batch
            del batch  # so that the next block may lie in the same memory


def from_disk() -> int:
    """Pages that this thread has waited for so far; 0 where the system does not say or cannot be
    asked for more."""
    if not hasattr(os, "posix_fadvise"):
        return 0
    import resource  # systems that can be asked have it

    return resource.getrusage(resource.RUSAGE_THREAD).ru_majflt


def by_threads(
    stores: dict[str, Streamed], blocks: Sequence[np.ndarray]
) -> Generator[dict[str, Tensor], None, None]:
    """Copies made by threads into rooms that are used in turn.

    At most ``AHEAD`` blocks are in memory. A block is valid until the next one is asked for: its
    room is then used again, on a GPU when the copy from it has ended; no step waits for that.
    """
    size = max((len(block) for block in blocks), default=0)
    count = min(AHEAD, len(blocks))
    rooms = [{name: store.buffer(size) for name, store in stores.items()} for _ in range(count)]
    copied: list[Any] = [None] * count

    gpu = any(store.device.type == "cuda" for store in stores.values())

    def fill(k: int) -> dict[str, Tensor]:
        if copied[k % count] is not None:
            copied[k % count].synchronize()
        return {name: s.read(blocks[k], rooms[k % count][name]) for name, s in stores.items()}

    with ThreadPoolExecutor(_WORKERS) as pool:
        reading = deque(pool.submit(fill, k) for k in range(count))
        try:
            for k in range(len(blocks)):
                read = reading.popleft().result()
                yield {name: stores[name].deliver(native) for name, native in read.items()}
                if gpu:
                    copied[k % count] = torch.cuda.Event()
                    copied[k % count].record()
                if k + count < len(blocks):
                    reading.append(pool.submit(fill, k + count))
        finally:
            pool.shutdown(cancel_futures=True)
    for event in filter(None, copied):
        event.synchronize()
    for room in rooms:
        for name, store in stores.items():
            store.spare.append(room[name])


def load_pixels(cache: Cache, modality: str, rows: np.ndarray) -> Tensor:
    """Native pixels (n, C, H, W) of ``rows`` in main memory, in the bands that are used."""
    images, bands = cache.images(modality), cache.band_positions(modality)
    count = images.shape[1] if bands is None else len(bands)
    pixels = np.empty((len(rows), count, *images.shape[2:]), images.dtype)
    step = max(1, _CHUNK_BYTES // max(1, images[:1].nbytes))
    for start in range(0, len(rows), step):
        part = images[rows[start : start + step]]
        pixels[start : start + step] = part if bands is None else part[:, bands]
    return torch.from_numpy(_signed(pixels))


def upload(values: np.ndarray, device: torch.device) -> Tensor:
    """Whole numbers on the device; to a GPU from pinned memory, which the host need not await."""
    tensor = torch.as_tensor(np.ascontiguousarray(values), dtype=torch.int64)
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def _signed(pixels: np.ndarray) -> np.ndarray:
    """uint16 as int16, everything else as it is; a plain array, no subclass."""
    plain = pixels.view(np.ndarray)
    return plain.view(np.int16) if plain.dtype == np.uint16 else plain
