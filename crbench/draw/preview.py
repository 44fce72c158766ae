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

ACROSS = 3  # pairs side by side
SIDE = 1.5  # inches
ROOM = 2 * SIDE + 0.3  # inches of a caption line under a pair
LABEL_LINES = 4


def spread(cache: Cache, n: int) -> np.ndarray:
    """Rows of ``n`` pairs drawn from the whole cache by a fixed seed, in file order."""
    rng = np.random.default_rng(derive("preview", cache.digest))
    return np.sort(rng.choice(cache.n, size=min(n, cache.n), replace=False))


def pair_sheet(cache: Cache, out: Path, *, n: int = 12) -> Path:
    """Write a PNG of ``n`` pairs, modality a left and b right; returns its path."""
    card = cache.card
    rows = spread(cache, n)
    shown = {m: pictures(cache.images(m)[rows], card.modality(m)) for m in ("a", "b")}
    across = min(ACROSS, len(rows))
    down = -(-len(rows) // across)
    pair_width, pair_height = 2 * SIDE + 0.08, SIDE + 0.1 + sheet.LINE * (LABEL_LINES + 1) + 0.15
    width = 0.35 + across * (pair_width + 0.35)
    top = 0.85
    figure = sheet.blank(width, top + down * pair_height)
    sheet.write(figure, 0.35, 0.16, f"{card.title}", size=13, bold=True)
    said = ", ".join(["synthetic"] * card.synthetic + [f"{len(rows)} of {cache.n:,} pairs"])
    channels = "; ".join(
        f"{card.modality(m).name} ({side}): {', '.join(card.modality(m).display)}"
        for m, side in (("a", "left"), ("b", "right"))
    )
    sheet.write(figure, 0.35, 0.46, f"{said} · {channels}", size=9, color=sheet.FAINT)
    for index, row in enumerate(rows):
        x = 0.35 + (index % across) * (pair_width + 0.35)
        y = top + (index // across) * pair_height
        labels = sheet.label_lines(label_names(cache, int(row)), ROOM, LABEL_LINES)
        caption = [(sheet.wrap(str(cache.ids[row]), ROOM, lines=1)[0], sheet.FAINT, False)]
        caption += [(label, sheet.INK, False) for label in labels]
        sheet.thumbnail(figure, x, y, SIDE, shown["a"][index], sheet.PLAIN, caption)
        sheet.thumbnail(figure, x + SIDE + 0.08, y, SIDE, shown["b"][index], sheet.PLAIN)
    return sheet.save(figure, out)
