"""A sheet of pairs: what the two sensors of a dataset see, with the labels of each place."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crbench.data.pair_labels import label_names
from crbench.draw import sheet
from crbench.draw.render import pictures
from crbench.seeds import derive

if TYPE_CHECKING:
    from crbench.data.cache.reading import Cache

_ACROSS = 3  # pairs side by side
_ROOM = 2 * sheet.SIDE + 0.3  # inches of a caption line under a pair
_LABEL_LINES = 4


def sample_rows(cache: Cache, n: int) -> np.ndarray:
    """Rows of ``n`` pairs drawn from the whole cache by a fixed seed, in file order."""
    rng = np.random.default_rng(derive("preview", cache.digest))
    return np.sort(rng.choice(cache.n, size=min(n, cache.n), replace=False))


def pair_sheet(cache: Cache, out: Path, *, n: int = 12) -> Path:
    """Write a PNG of ``n`` pairs, modality a left and b right; returns its path."""
    card = cache.card
    rows = sample_rows(cache, n)
    images = [pictures(cache.images(m)[rows], card.modality(m)) for m in ("a", "b")]
    pairs = [
        sheet.Thumbnail(pair, _caption(cache, int(row)), room=_ROOM)
        for row, *pair in zip(rows, *images, strict=True)
    ]
    count = ", ".join(["synthetic"] * card.synthetic + [f"{len(rows)} of {cache.n:,} pairs"])
    channels = "; ".join(
        f"{card.modality(m).name} ({side}): {', '.join(card.modality(m).display)}"
        for m, side in (("a", "left"), ("b", "right"))
    )
    lines = [pairs[start : start + _ACROSS] for start in range(0, len(pairs), _ACROSS)]
    figure = sheet.thumbnail_sheet(card.title, [f"{count} · {channels}"], [("", lines)])
    return sheet.save(figure, out)


def _caption(cache: Cache, row: int) -> sheet.Caption:
    labels = sheet.label_lines(label_names(cache, row), _ROOM, _LABEL_LINES)
    name = sheet.wrap(str(cache.ids[row]), _ROOM, lines=1)[0]
    return [(name, sheet.FAINT, False), *((label, sheet.INK, False) for label in labels)]
