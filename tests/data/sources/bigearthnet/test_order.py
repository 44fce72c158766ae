"""Band order by content: radar by its levels, optical by vegetation; 42 of 45 swaps are seen."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from crbench.data.sources.bigearthnet.order import STACKED, check_optical, radar_order
from crbench.errors import UserError

UNSEEN = {("B05", "B12"), ("B07", "B08"), ("B08", "B8A")}  # alike over vegetation


def means_of(folder: Path, bands: tuple[str, ...]) -> np.ndarray:
    """Means (N, C) of the real pairs."""
    rows = []
    for path in sorted((folder / "npz").glob("*.npz")):
        with np.load(path) as patch:
            rows.append([float(patch[band].mean()) for band in bands])
    return np.array(rows)


def test_radar_is_told_by_its_levels() -> None:
    rng = np.random.default_rng(0)
    vv = rng.normal(-12, 3, 50)
    levels = np.stack([vv, vv - rng.normal(6.5, 1, 50)], axis=1)
    assert radar_order(levels, "here") == (0, 1)
    assert radar_order(levels[:, ::-1], "here") == (1, 0)
    for broken in (np.stack([vv, vv + 0.5], axis=1), 10 ** (levels / 10)):
        with pytest.raises(UserError, match="neither radar band looks like VH") as caught:
            radar_order(broken, "here")
        assert "dB" in caught.value.what and caught.value.where == "here"


def test_real_patches_stand_in_order_and_swaps_are_seen(real_data: Callable[[str], Path]) -> None:
    folder = real_data("bigearthnet_mini")
    means = means_of(folder, STACKED)
    check_optical(means, "here")
    rng = np.random.default_rng(0)
    for _ in range(50):
        check_optical(means[rng.choice(len(means), 30)], "here")
    unseen = set()
    for i, j in itertools.combinations(range(10), 2):
        swapped = means.copy()
        swapped[:, [i, j]] = swapped[:, [j, i]]
        try:
            check_optical(swapped, "here")
            unseen.add((STACKED[i], STACKED[j]))
        except UserError:
            pass
    assert unseen == UNSEEN
    assert radar_order(means_of(folder, ("VV", "VH")), "here") == (0, 1)


def test_the_other_order_of_public_code_is_refused_with_the_figures(
    real_data: Callable[[str], Path],
) -> None:
    """The 10 m bands first, then those of 20 m; and no vegetation at all."""
    other = ("B02", "B03", "B04", "B08", "B05", "B06", "B07", "B8A", "B11", "B12")
    means = means_of(real_data("bigearthnet_mini"), other)
    with pytest.raises(UserError, match=r"do not stand in the order B02 B03 .*B04 \d") as caught:
        check_optical(means, "there.zip")
    assert "expected " in caught.value.what and caught.value.where == "there.zip"
    with pytest.raises(UserError, match=r"no vegetation|expected"):
        check_optical(np.full((20, 10), 300.0), "here")
