"""Cosine scores that do not depend on where an item stands.

A float32 matrix product is not enough: BLAS rounds the columns at the edge of a tile in another
order than those inside, so that even in one fixed tile shape identical gallery rows get two
different scores (OpenBLAS 0.3.31 on AVX2 did so in every shape tried), and exact ties break by
position. Here the unit vectors are rounded to whole multiples of 2⁻²⁶. Products are then whole
multiples of 2⁻⁵² and, by Cauchy-Schwarz, no partial sum exceeds 1 by more than the rounding, so
every intermediate value is a float64 without rounding: the sum is exact in any order, with any
BLAS, thread count or tile. It is rounded once, to float32. The distance from the true cosine is
below one float32 step (about 1e-8 from the grid, 3e-8 from the last rounding), less than that of a
float32 product. The price is a float64 product, twice the time of a float32 one.

Tiles keep one padded shape all the same: memory stays bounded and the work of ranks comparable.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from crbench.errors import UserError
from crbench.machine import cores

QUERY_TILE, GALLERY_TILE = 128, 1024
GRID_BITS = 26
_ROWS = 2048  # rows normalised at a time: bounds the float64 copies

Map = Callable[[Callable[[Any], None], Iterable[Any]], object]


def fixed_point(embeddings: np.ndarray, name: str, ids: np.ndarray | None = None) -> np.ndarray:
    """Unit vectors of ``embeddings`` (N, D), floating, in whole multiples of 2⁻²⁶: int32 (N, D).

    Scaling a row by a power of two changes nothing. A NaN, infinite or all-zero row, a wrong shape
    or dtype is a UserError that names the array (``name``) and the row.
    """
    x = np.asarray(embeddings)
    if x.ndim != 2 or x.shape[1] == 0:
        raise UserError(f"embeddings have shape {x.shape}, not (N, D)", where=name)
    if x.dtype.kind != "f":
        raise UserError(f"embeddings have dtype {x.dtype}", where=name, fix="give float32")
    if ids is not None and len(ids) != len(x):
        raise UserError(f"{len(x)} embeddings for {len(ids)} ids", where=name)
    codes = np.empty(x.shape, np.int32)
    for start in range(0, len(x), _ROWS):
        block = np.array(x[start : start + _ROWS], dtype=np.float64, order="C")
        largest = np.abs(block).max(axis=1)
        if bad := first_bad_row(largest):
            row, holds = start + bad[0], bad[1]
            where = f"{name}, row {row}" + (f" (id '{ids[row]}')" if ids is not None else "")
            fix = "embed this item again, or leave it out on both sides"
            raise UserError(f"an embedding holds {holds}", where=where, fix=fix)
        # frexp first: squares of large or subnormal values would leave the range of float64
        np.ldexp(block, -np.frexp(largest)[1][:, None], out=block)
        block /= np.sqrt((block * block).sum(axis=1, keepdims=True))
        block *= 2.0**GRID_BITS
        codes[start : start + _ROWS] = np.rint(block, out=block)
    return codes


def first_bad_row(largest: np.ndarray) -> tuple[int, str] | None:
    """The first vector without a direction and what it holds, of the ``largest`` magnitude (N,) in
    each; None where all have one."""
    bad = np.flatnonzero(~np.isfinite(largest) | (largest == 0))
    if not len(bad):
        return None
    value = largest[bad[0]]
    holds = "NaN" if np.isnan(value) else "an infinite value" if value else "zeros alone"
    return int(bad[0]), holds


def check_widths(query: np.ndarray, gallery: np.ndarray, name: str) -> None:
    """UserError unless both arrays ``(N, D)`` have the same D."""
    if query.shape[1] != gallery.shape[1]:
        raise UserError(
            f"query embeddings have {query.shape[1]} dimensions, gallery ones {gallery.shape[1]}",
            where=name,
            fix="take views of the same width",
        )


def score_tile(
    query: np.ndarray,
    gallery: np.ndarray,
    out: np.ndarray,
    run: Map,
    tile: tuple[int, int] = (QUERY_TILE, GALLERY_TILE),
) -> np.ndarray:
    """Scores of at most ``tile[0]`` queries against the whole gallery.

    ``query`` (n, D) and ``gallery`` (Ng, D) hold codes of :func:`fixed_point`; ``out`` float32
    (tile[0], Ng) receives the cosines; ``run`` maps a function over its arguments, in any order.
    Returns ``out[:n]``.
    """
    n, width = query.shape
    left = np.zeros((tile[0], width))
    left[:n] = query
    scale = 2.0 ** (-2 * GRID_BITS)

    def one(start: int) -> None:
        part = gallery[start : start + tile[1]]
        right = np.zeros((tile[1], width))
        right[: len(part)] = part
        product = left @ right.T
        block = product[:, : len(part)]
        np.multiply(block, scale, out=out[:, start : start + len(part)], casting="same_kind")

    run(one, range(0, len(gallery), tile[1]))
    return out[:n]


@contextmanager
def workers(threads: int | None = None) -> Iterator[Map]:
    """A mapper over ``threads`` threads (default: the usable cores); results are the same for all.

    numpy releases the interpreter lock in products, sorts and searches, so threads are enough.
    BLAS keeps to one thread meanwhile: its own threads wait for each other actively, which made a
    product ten times slower on cores shared with other work.
    """
    count = cores() if threads is None else threads
    if count < 1:
        raise UserError(f"{count} threads", where="threads", fix="give 1 or more")
    with one_blas_thread(), ThreadPoolExecutor(count) as pool:  # starts no thread before it is used
        mapped = map if count == 1 else pool.map
        yield lambda function, arguments: deque(mapped(function, arguments), maxlen=0)


def one_blas_thread() -> threadpool_limits:
    """Context in which matrix products run on the calling thread alone."""
    return threadpool_limits(limits=1, user_api="blas")
