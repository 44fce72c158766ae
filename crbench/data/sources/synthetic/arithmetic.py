"""Exponential, logarithm, sine and matrix product of which every processor gives the same bits.

NumPy's own take other instructions, and round otherwise, where a processor has AVX-512, and a
product's order of sums is BLAS's: the pixels of generator 1 depend on that. Generator 2 uses these.
They consist of sums, products and quotients alone, which IEEE 754 rounds the same everywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from math import factorial
from typing import Any, NamedTuple

import numpy as np

_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10
_PI_HIGH, _PI_LOW = 3.14159265160560607910e00, 1.98418714791870343106e-09
_EXP = [1 / factorial(k) for k in range(15)]
_SIN = [(-1) ** k / factorial(2 * k + 1) for k in range(12)]
_ATANH = [1 / (2 * k + 1) for k in range(13)]


def exp(x: Any) -> np.ndarray:
    """e to the power of ``x``, float64, within 4·10⁻¹⁶ of itself; ``x`` between −700 and 700."""
    x = np.asarray(x, dtype=np.float64)
    twos = np.rint(x * (1 / (_LN2_HIGH + _LN2_LOW)))
    rest = (x - twos * _LN2_HIGH) - twos * _LN2_LOW
    return np.ldexp(_series(_EXP, rest), twos.astype(np.int32))


def sin(x: Any) -> np.ndarray:
    """The sine of ``x`` in radians, float64, within 10⁻¹⁴; ``x`` between −1,000 and 1,000."""
    x = np.asarray(x, dtype=np.float64)
    turns = np.rint(x * (1 / (_PI_HIGH + _PI_LOW)))
    rest = (x - turns * _PI_HIGH) - turns * _PI_LOW
    return (1 - 2 * (turns % 2)) * rest * _series(_SIN, rest * rest)


def log10(x: Any) -> np.ndarray:
    """The decimal logarithm of ``x`` > 0, float64, within 10⁻¹⁵ of itself or of 1."""
    mantissa, twos = np.frexp(np.asarray(x, dtype=np.float64))
    low = mantissa < np.sqrt(0.5)
    mantissa, twos = np.where(low, 2 * mantissa, mantissa), twos - low
    ratio = (mantissa - 1) / (mantissa + 1)
    natural = 2 * ratio * _series(_ATANH, ratio * ratio) + twos * (_LN2_HIGH + _LN2_LOW)
    return np.asarray(natural * 0.4342944819032518)


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """``a`` (n, k) times ``b`` (k, m): (n, m) in their dtype, summed in the order of k."""
    total = a[:, :1] * b[:1]
    for k in range(1, len(b)):
        total += a[:, k, None] * b[k]
    return np.asarray(total)


def _series(coefficients: list[float], x: np.ndarray) -> np.ndarray:
    total = np.full_like(x, coefficients[-1])
    for c in coefficients[-2::-1]:
        total = total * x + c
    return total


class Arithmetic(NamedTuple):
    """What a scene is drawn with: ``sine`` of an array and the ``product`` of two."""

    sine: Callable[[np.ndarray], np.ndarray]
    product: Callable[[np.ndarray, np.ndarray], np.ndarray]


FAST = Arithmetic(np.sin, np.matmul)  # of generator 1
SAME = Arithmetic(sin, product)  # the same bits on every processor
