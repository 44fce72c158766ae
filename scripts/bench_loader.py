"""Speed of the loader against plain numpy and against raw GeoTIFFs, all in one run, in turns.

    python scripts/bench_loader.py --json        # 2,000 and 10,000 pairs, about 1 GB each on disk
    python scripts/bench_loader.py --pairs 256   # in seconds, for a look

Two shapes with random pixels: ``120x120`` (float32 × 2 bands and uint16 × 12, as BEN-14K) and
``256x256`` (uint8 × 1 at 256 and uint8 × 4 at 64, as DSRSID). An epoch delivers every pair once, in
batches of 64, in file order or shuffled. The reference copies the same bytes out of a
``numpy.memmap`` of the same file into fresh arrays, batch by batch; on both sides a batch lives
until the next one is there, and the file is in the system's cache. The loader delivers native
pixels as tensors on the CPU; normalising, which is the device's work, is in neither. Keys of each
shape:

  streaming_over_memmap   speed of streamed batches ÷ the reference; the lower of the two orders
  resident_over_memmap    the same with the pixels in memory (in file order it copies nothing)
  streaming_over_geotiff  streamed, shuffled ÷ reading the pairs as GeoTIFFs with rasterio: a file a
                          band in 120x120, at the band's own resolution, a file a sensor in 256x256;
                          read on ``--geotiff-pairs`` pairs and scaled to the same number
  by_order                both ratios in file order and shuffled
  memory_growth           anonymous memory after the last of 5 streamed epochs ÷ after the first
  gb                      bytes of an epoch

Ratios are medians over the turns of the ratio within a turn: a busy machine slows both sides alike.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from crbench.cards import DatasetCard, load_dataset
from crbench.data import sources
from crbench.data.cache.build import build_cache
from crbench.data.cache.reading import Cache, open_cache
from crbench.data.pairs import Pairs, epoch_order
from crbench.data.sources import Block, Source

BATCH = 64
EPOCHS = 5
RESOLUTION = {
    "B05": 60,
    "B06": 60,
    "B07": 60,
    "B8A": 60,
    "B11": 60,
    "B12": 60,
    "B01": 20,
    "B09": 20,
}
SHAPES = {"120x120": ("ben-14k", 1), "256x256": ("dsrsid", 5)}  # 5 times the pairs: as many bytes
Epoch = Callable[[list[np.ndarray]], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--pairs", type=int, default=2_000)
    parser.add_argument("--geotiff-pairs", type=int, default=50)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    args = parser.parse_args()
    torch.set_num_threads(1)
    sources._BUILT_IN["random-pixels"] = f"{__name__}:open_random"
    result: dict[str, Any] = {}
    for shape, (dataset, times) in SHAPES.items():
        with tempfile.TemporaryDirectory() as folder:
            result[shape] = bench(dataset, times * args.pairs, Path(folder), args)
    if args.json:
        print(json.dumps(result))
        return
    for shape, values in result.items():
        for key, value in values.items():
            print(f"{shape}  {key:24s} {value}")


def open_random(card: DatasetCard, source_dir: Path | None) -> Source:
    """Random pixels of the card's shapes, all in one split."""
    n = int(card.source["pairs"])

    def pixels(which: str, start: int, stop: int) -> np.ndarray:
        modality, rng = card.modality(which), np.random.default_rng([start, ord(which)])
        shape = (stop - start, len(modality.bands), *modality.size)
        if np.dtype(modality.dtype).kind == "f":
            return rng.standard_normal(shape, dtype=np.float32)
        return rng.integers(0, np.iinfo(modality.dtype).max, shape, dtype=modality.dtype)

    def read(start: int, stop: int) -> Block:
        return Block(pixels("a", start, stop), pixels("b", start, stop), None)

    return Source([f"p{k:05d}" for k in range(n)], ["train"] * n, read, "random pixels", str(n))


def random_card(dataset: str, pairs: int) -> DatasetCard:
    """The benchmark's modalities without labels, splits and statistics."""
    card = load_dataset(dataset)
    everything = {"query": ["train"], "gallery": ["train"]}
    plain = [m.model_copy(update={"mean": None, "std": None}) for m in (card.a, card.b)]
    return DatasetCard.model_validate(
        card.to_dict()
        | {"a": plain[0].model_dump(), "b": plain[1].model_dump(), "labels": {"kind": "none"}}
        | {"train_splits": ["train"], "protocol": "all", "protocols": {"all": everything}}
        | {"headline": ["pair_r@1"], "source": {"kind": "random-pixels", "pairs": pairs}}
    )


def bench(dataset: str, n: int, folder: Path, args: argparse.Namespace) -> dict[str, Any]:
    """All keys of one shape."""
    card = random_card(dataset, n)
    cache = open_cache(build_cache(card, folder / "cache.h5", quiet=True), card)
    pairs = {
        name: Pairs(cache, ["train"], image_size=card.a.size[0], loading=name)
        for name in ("memory", "stream")
    }
    maps = [cache.images(which) for which in ("a", "b")]

    def memmap(blocks: list[np.ndarray]) -> None:
        for block in blocks:
            in_order = len(block) < 2 or bool((np.diff(block) == 1).all())
            where = slice(int(block[0]), int(block[-1]) + 1) if in_order else block
            # indices by number have copied already; as of the loader, a batch lives until the next
            batch = [np.array(images[where], copy=in_order) for images in maps]
        del batch

    def loader(name: str) -> Epoch:
        def epoch(blocks: list[np.ndarray]) -> None:
            for _ in pairs[name].native(blocks):
                pass

        return epoch

    orders = {"sequential": np.arange(n), "shuffled": epoch_order(n, 0, 0)}
    blocks = {k: [o[s : s + BATCH] for s in range(0, n, BATCH)] for k, o in orders.items()}
    geotiff = GeoTiffs(cache, folder / "tif", min(args.geotiff_pairs, n))
    jobs: dict[str, tuple[Epoch, list[np.ndarray]]] = {}
    for order, parts in blocks.items():
        jobs[f"memmap {order}"] = (memmap, parts)
        jobs[f"stream {order}"] = (loader("stream"), parts)
        jobs[f"memory {order}"] = (loader("memory"), parts)
    jobs["geotiff"] = (geotiff.epoch, [])
    turns: list[dict[str, float]] = []
    for turn in range(args.repeats + 1):  # the first is not counted
        seconds = {}
        for name, (job, parts) in jobs.items():
            start = time.perf_counter()
            job(parts)
            seconds[name] = time.perf_counter() - start
        turns += [seconds] if turn else []

    def ratio(slow: str, fast: str, scale: float = 1.0) -> float:
        return statistics.median(turn[slow] * scale / turn[fast] for turn in turns)

    by_order = {
        f"{label}_{order}": ratio(f"memmap {order}", f"{name} {order}")
        for label, name in (("streaming", "stream"), ("resident", "memory"))
        for order in orders
    }
    return {
        "streaming_over_memmap": min(v for k, v in by_order.items() if k.startswith("streaming")),
        "resident_over_memmap": min(v for k, v in by_order.items() if k.startswith("resident")),
        "streaming_over_geotiff": ratio("geotiff", "stream shuffled", n / geotiff.n),
        "by_order": by_order,
        "memory_growth": memory_growth(loader("stream"), n),
        "gb": pairs["memory"].nbytes / 1e9,
    }


class GeoTiffs:
    """The first ``n`` pairs as GeoTIFFs, as a user has them, and an epoch that reads them all."""

    def __init__(self, cache: Cache, folder: Path, n: int) -> None:
        import rasterio

        self.n, self.paths = n, []
        folder.mkdir()
        for row in range(n):
            for which in ("a", "b"):
                bands, image = cache.card.modality(which).bands, cache.images(which)[row]
                own = cache.card.name == "ben-14k"
                files = [[k] for k in range(len(bands))] if own else [list(range(len(bands)))]
                for part in files:
                    side = RESOLUTION.get(bands[part[0]], image.shape[-1]) if own else None
                    pixels = image[part][:, :side, :side]
                    path = folder / f"{row}_{which}_{part[0]}.tif"
                    with rasterio.open(
                        path, "w", driver="GTiff", count=len(part), dtype=pixels.dtype,
                        height=pixels.shape[1], width=pixels.shape[2],
                        transform=rasterio.Affine(10, 0, 5e5, 0, -10, 5e6), crs="EPSG:32634",
                    ) as file:  # fmt: skip
                        file.write(np.asarray(pixels))
                    self.paths.append(path)

    def epoch(self, _: list[np.ndarray]) -> None:
        import rasterio

        for path in self.paths:
            with rasterio.open(path) as file:
                file.read()


def memory_growth(epoch: Epoch, n: int) -> float:
    """Anonymous memory after the last of some shuffled epochs ÷ after the first; NaN elsewhere
    than on Linux."""
    used = []
    for number in range(EPOCHS):
        order = epoch_order(n, 1, number)
        epoch([order[start : start + BATCH] for start in range(0, n, BATCH)])
        used.append(anonymous())
    return used[-1] / used[0]


def anonymous() -> float:
    """Bytes of this process that are not pages of files."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next(int(x.split()[1]) * 1024.0 for x in lines if x.startswith("RssAnon"))


if __name__ == "__main__":
    sys.exit(main())
