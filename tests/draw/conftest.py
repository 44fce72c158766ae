"""What tests of several pictures ask of a figure: that all of it can be seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from crbench.data.cache.reading import Cache, open_cache


@pytest.fixture
def all_inside() -> Callable[[Figure], None]:
    """A check that every drawn point lies inside its axes and every text inside the figure."""
    return _all_inside


def _all_inside(figure: Figure) -> None:
    """Every drawn point lies inside its axes' limits, and every text inside the figure."""
    figure.draw_without_rendering()
    for axes in figure.axes:
        points = [
            line.get_xydata() for line in axes.lines if line.get_transform() == axes.transData
        ]
        points += [
            dots.get_offsets() for dots in axes.collections if isinstance(dots, PathCollection)
        ]
        points += [path.vertices for shape in axes.collections for path in shape.get_paths()
                   if shape.get_transform() == axes.transData]  # fmt: skip
        for xy in points:
            finite = np.asarray(xy, float)[np.isfinite(np.asarray(xy, float)).all(axis=1)]
            for values, limits in zip(finite.T, (axes.get_xlim(), axes.get_ylim()), strict=True):
                assert (values >= limits[0] - 1e-9).all(), (axes.get_title("left"), values, limits)
                assert (values <= limits[1] + 1e-9).all(), (axes.get_title("left"), values, limits)
    drawn, page = figure.get_tightbbox(), figure.bbox_inches
    assert page.x0 - 0.02 <= drawn.x0 and drawn.x1 <= page.x1 + 0.02, (drawn, page)
    assert page.y0 - 0.02 <= drawn.y0 and drawn.y1 <= page.y1 + 0.02, (drawn, page)


@pytest.fixture(scope="package")
def cache(twin_cache: Path) -> Cache:
    return open_cache(twin_cache)


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that are saved from here on, which are then not written."""
    figures: list[Figure] = []
    monkeypatch.setattr(
        "crbench.draw.sheet.save", lambda figure, out: figures.append(figure) or out
    )
    return figures
