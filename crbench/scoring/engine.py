"""Who ranks which queries, and on what: threads here, another device, or several processes.

Whatever is chosen, no bit of the result changes: products are exact (see ``tiles``), values per
query are computed from whole numbers (see ``ranking``), and they are summed in the order of ids.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from crbench.scoring.tiles import Map

# Ranks the queries at the given positions (n,), fills in what it finds, returns the tied scores.
RankBlock = Callable[[np.ndarray], int]
# From metrics.RankingTask, query codes, gallery codes, metrics.QueryValues to be filled and mapper:
# the number of queries that fit into memory at a time, and the function that ranks them.
Ranker = Callable[[Any, np.ndarray, np.ndarray, Any, Map], tuple[int, RankBlock]]


@dataclass(frozen=True)
class Engine:
    """How a direction is ranked: ``rank`` of ``size`` processes, by ``ranker`` (None: on the CPU).

    ``total`` adds an array of float64 over the ranks, element by element; every rank calls it
    equally often and gets the sum.
    """

    rank: int = 0
    size: int = 1
    total: Callable[[np.ndarray], np.ndarray] = lambda values: values
    ranker: Ranker | None = None

    def share(self, order: np.ndarray, unit: int) -> np.ndarray:
        """The queries of ``order`` that this rank owns: whole tiles of ``unit``, taken in turn."""
        tiles = [order[start : start + unit] for start in range(0, len(order), unit)]
        return np.concatenate([order[:0], *tiles[self.rank :: self.size]])

    def gather(self, arrays: list[np.ndarray], mine: np.ndarray, count: int) -> int:
        """Fill ``arrays`` (each with an axis of queries) with every rank's rows; sum ``count``.

        ``arrays`` hold their queries in the first axis, rows that are not ``mine`` undefined.
        """
        if self.size == 1:
            return count
        flat = []
        for array in arrays:
            own = np.zeros_like(array)  # the other ranks' rows: x + 0 is x, NaN + 0 is NaN
            own[mine] = array[mine]
            flat.append(own.reshape(-1))
        summed = self.total(np.concatenate([*flat, [float(count)]]))
        start = 0
        for array in arrays:
            array[...] = summed[start : start + array.size].reshape(array.shape)
            start += array.size
        return int(summed[-1])


def rows_in_memory(n_gallery: int, most: int) -> int:
    """Queries whose float32 scores against the gallery fit into the memory at hand, 1 to ``most``.

    A block takes an eighth of what is available, and never more than 1 GiB.
    """
    room = min(available_memory() // 8, 2**30)
    return int(np.clip(room // (4 * n_gallery), 1, most))


def available_memory() -> int:
    """Bytes that a process may still take; 4 GiB where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(x.split()[1]) * 1024 for x in lines if x.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return 4 * 2**30
