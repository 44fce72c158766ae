"""The arithmetic of generator 2: right, and the same on every processor."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from crbench.data.sources.synthetic.arithmetic import exp, log10, product, sin

_DIGEST = """
from pathlib import Path
import sys
from crbench.cards import load_dataset
from crbench.data.cache.build import build_cache
from crbench.data.cache.reading import open_cache
sizes = [f"source.splits.{name}={n}" for name, n in zip(sys.argv[3:], (40, 8, 8))]
build_cache(load_dataset(sys.argv[1], overrides=sizes), Path(sys.argv[2]), quiet=True)
print(open_cache(Path(sys.argv[2])).digest)
"""


def test_functions_are_those_of_mathematics() -> None:
    x = np.random.default_rng(0).uniform(-20, 20, 2000)
    np.testing.assert_allclose(exp(x), [math.exp(v) for v in x], rtol=5e-16)
    np.testing.assert_allclose(sin(30 * x), [math.sin(30 * v) for v in x], atol=1e-14)
    np.testing.assert_allclose(log10(exp(x)), x / math.log(10), atol=4e-15)
    assert exp(0.0) == 1 and sin(0.0) == 0 and log10(1.0) == 0
    assert log10(np.array([1e-5, 1e5])) == pytest.approx([-5, 5], abs=1e-15)


def test_a_product_is_summed_in_order() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((4, 7)), rng.standard_normal((7, 3))
    for i, j in np.ndindex(4, 3):
        total = 0.0
        for k in range(7):
            total += float(a[i, k]) * float(b[k, j])
        assert product(a, b)[i, j] == total
        exact = sum(Fraction(float(a[i, k])) * Fraction(float(b[k, j])) for k in range(7))
        assert float(exact) == pytest.approx(total, rel=1e-13)


@pytest.mark.parametrize(
    ("name", "splits"),
    [
        ("ben-14k-twin-2", ("train", "val", "test")),
        ("dsrsid-twin-2", ("train", "val", "query")),
    ],
)
def test_a_processor_with_less_gives_the_same_pixels(
    name: str, splits: tuple[str, ...], tmp_path: Path
) -> None:
    """NumPy and BLAS as on this processor, and as on one without AVX."""
    from numpy._core._multiarray_umath import __cpu_dispatch__ as features

    less = {"NPY_DISABLE_CPU_FEATURES": " ".join(features), "OPENBLAS_CORETYPE": "Nehalem"}
    digests = []
    for number, settings in enumerate(({}, less)):
        words = [
            sys.executable,
            "-W",
            "ignore",
            "-c",
            _DIGEST,
            name,
            str(tmp_path / f"{number}.h5"),
        ]
        done = subprocess.run(
            [*words, *splits], env=os.environ | settings, capture_output=True, text=True, check=True
        )
        digests.append(done.stdout.strip())
    assert len(digests[0]) == 64 and digests[0] == digests[1]
