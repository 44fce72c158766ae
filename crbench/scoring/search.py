"""The nearest items of one query, exactly, in little more than the time of a float32 product.

A float32 product of the whole gallery tells which items can be among the nearest: its distance
from the exact score has a bound (:func:`error_bound`). They alone are scored as the metrics score,
and put in order by score, then id, as in :func:`crbench.scoring.top_k`: the same items with the
same scores, to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from crbench.errors import UserError
from crbench.scoring.index import exact_scores
from crbench.scoring.protocol import check_ks
from crbench.scoring.tiles import GRID_BITS, check_widths, fixed_point

_ROWS = 4096  # rows taken at a time: bounds the float64 copies


@dataclass
class Gallery:
    """Items to search: ``ids`` (N,) str and ``vectors`` (N, D) as :func:`scale_rows` leaves them,
    in memory or memory-mapped."""

    ids: np.ndarray
    vectors: np.ndarray
    _inverse: np.ndarray = field(init=False, repr=False)  # 1 ÷ length of each vector, float32

    def __post_init__(self) -> None:
        self.vectors = np.asarray(self.vectors)  # a plain view of a memory map: nothing is read
        starts = range(0, len(self.vectors), _ROWS)
        blocks = (self.vectors[start : start + _ROWS].astype(np.float64) for start in starts)
        lengths = np.concatenate([np.linalg.norm(block, axis=1) for block in blocks])
        self._inverse = (1 / lengths).astype(np.float32)

    def nearest(
        self, query: np.ndarray, k: int, left_out: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The ``k`` items nearest to ``query`` (D,), floating, of any length: rows (k,) int64 and
        cosines (k,) float32, best first, ties in the order of the ids.

        ``left_out`` (M,) are distinct rows that are not ranked. Where fewer than ``k`` items
        are left, k is their number; none at all is a UserError.
        """
        (k,) = check_ks([k])
        k = min(k, len(self.ids) - (0 if left_out is None else len(left_out)))
        if k < 1:
            raise UserError("no item of the gallery is left to rank", where="search")
        code = fixed_point(np.asarray(query)[None], "query embedding")
        check_widths(code, self.vectors, "search")
        rough = self.vectors @ np.ldexp(code[0].astype(np.float32), -GRID_BITS)
        rough *= self._inverse
        if left_out is not None:
            rough[left_out] = -np.inf
        # The k items with the highest rough scores have exact ones of at least the k-th rough score
        # less the bound; so has the k-th nearest item. What reaches that exactly, is roughly at
        # most the bound below it: twice the bound below the k-th rough score.
        least = np.float64(np.partition(rough, len(rough) - k)[len(rough) - k])
        near = np.flatnonzero(rough >= least - 2 * error_bound(len(code[0])))
        scores = np.empty(len(near), np.float32)
        for start in range(0, len(near), _ROWS):
            part = near[start : start + _ROWS]
            codes = fixed_point(self.vectors[part], "gallery embeddings")
            scores[start : start + _ROWS] = exact_scores(code, codes, np.arange(len(part))[None])
        order = np.lexsort((self.ids[near], -scores))[:k]
        return near[order], scores[order]


def scale_rows(vectors: np.ndarray) -> np.ndarray:
    """``vectors`` (N, D), float32 or narrower, each times the power of two that puts its largest
    entry in [0.5, 1): float32, with the codes of ``tiles.fixed_point`` unchanged.

    So no product of a search can leave the range of float32. Rows must be finite and not zero.
    """
    if not np.can_cast(vectors.dtype, np.float32):
        raise UserError(f"embeddings have dtype {vectors.dtype}", where="search",
                        fix="give float32")  # fmt: skip
    x = vectors.astype(np.float32)
    largest = np.abs(x).max(axis=1, keepdims=True)
    return np.asarray(np.ldexp(x, -np.frexp(largest)[1]))


def error_bound(width: int) -> float:
    """How far at most a rough score lies from the exact one, of vectors of ``width`` dimensions.

    With u = 2⁻²⁴, half a float32 step at 1, and x the stored vector, p the query in float32:

    - the product x·p is off by at most γ‖x‖‖p‖, γ = D·u / (1 − D·u), whatever the order of its sums
      and with or without fused products (Higham 2002, *Accuracy and Stability of Numerical
      Algorithms*, section 3.1);
    - p is off by u, 1/‖x‖ by u (its square root is taken in float64), their product by u;
    - the exact score rounds each entry of x/‖x‖ to a multiple of 2⁻²⁶, which moves it by at most
      √D·2⁻²⁷ (Cauchy-Schwarz), and is itself rounded to float32, u.

    These are relative to lengths and scores that exceed 1 by such amounts again: below one percent
    for D up to 65,536. Products that underflow, at most D·2⁻¹²⁶ in all, vanish in the fifth u.
    """
    u = 2.0**-24
    gamma = width * u / (1 - width * u)
    return float(1.01 * (gamma + 5 * u + width**0.5 * 2.0 ** -(GRID_BITS + 1)))
