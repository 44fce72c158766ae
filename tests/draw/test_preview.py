"""A sheet of pairs shows as many as it is asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from crbench.data.cache.reading import Cache
from crbench.draw import sheet
from crbench.draw.preview import pair_sheet, sample_rows


def count(path: Path, color: str) -> int:
    """Pixels of exactly this colour."""
    image = imread(path)[..., :3]
    return int((np.abs(image - np.array(to_rgb(color))) < 1.5 / 255).all(axis=2).sum())


def test_preview_shows_every_pair_asked_for(cache: Cache, tmp_path: Path) -> None:
    few = imread(pair_sheet(cache, tmp_path / "few.png", n=2))
    many = imread(pair_sheet(cache, tmp_path / "many.png", n=9))
    assert many.shape[0] > 2 * few.shape[0] and many.shape[1] > few.shape[1]
    frames = 2 * 9 * 4 * sheet.DPI * 1.4
    assert count(tmp_path / "many.png", sheet.PLAIN) > frames


def test_the_same_pairs_are_drawn_every_time_and_never_more_than_there_are(cache: Cache) -> None:
    rows = sample_rows(cache, 9)
    assert (rows == sample_rows(cache, 9)).all() and len(set(rows.tolist())) == 9
    assert (np.diff(rows) > 0).all()
    assert sample_rows(cache, 10**6).tolist() == list(range(cache.n))
