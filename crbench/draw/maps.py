"""Maps: the embeddings of both modalities in one plane, by class and by modality."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crbench.data.pair_labels import label_names
from crbench.draw import sheet
from crbench.draw.run import Opened, open_run
from crbench.errors import UserError
from crbench.records import Record
from crbench.seeds import derive
from crbench.words import arrow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from crbench.data.cache.reading import Cache

PANEL, LEFT, GAP = 3.9, 0.35, 0.3  # inches
SIDES = ("#2f6fb2", "#d98a1f")  # modality a, modality b
MARKS = ("o", "^")
CLASSES = 19  # colours that eyes and palettes still tell apart; further classes are grey
OTHER = "#b8bdc7"
STEP = 0.19  # inches a line of the legend


def modality_gap(opened: Opened, direction: str) -> float:
    """Distance between the mean unit embeddings of the two sides of a cross-modal direction, over
    its queries and its gallery: the ``gap`` of a record's health (Liang et al. 2022)."""
    from crbench.scoring import health

    sides = [
        opened.views.of(modality, view, opened.cache.ids[opened.cache.rows(splits)])
        for modality, view, splits in _sides(opened, direction)
    ]
    return float(health({direction: (sides[0], sides[1])})["directions"][direction]["gap"])


def _sides(opened: Opened, direction: str) -> list[tuple[str, str, Sequence[str]]]:
    served = opened.serves[direction]
    return [
        (direction[0], served.query, opened.protocol.query),
        (direction[1], served.gallery, opened.protocol.gallery),
    ]


def plane(embeddings: np.ndarray, how: str) -> np.ndarray:
    """Coordinates (N, 2) of unit embeddings (N, R): ``"PCA"`` or ``"t-SNE"``, both seeded."""
    from threadpoolctl import threadpool_limits

    norms = np.linalg.norm(embeddings.astype(np.float64), axis=1, keepdims=True)
    unit = embeddings / np.maximum(norms, np.finfo(np.float64).tiny)
    with threadpool_limits(1):  # several threads add in another order, and t-SNE drifts apart
        if how == "PCA":
            from sklearn.decomposition import PCA

            found = PCA(2, svd_solver="full", random_state=0).fit_transform(unit)
        else:
            from sklearn.manifold import TSNE

            perplexity = min(30.0, (len(unit) - 1) / 3)
            found = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(unit)
    return np.asarray(found)


def classes(cache: Cache, rows: np.ndarray) -> list[str]:
    """One class an item (cache row): its own, or the rarest of its labels in the whole cache."""
    names = [label_names(cache, int(row)) for row in rows]
    if cache.card.labels.kind != "multi" or cache.labels is None:
        return [found[0] if found else "no label" for found in names]
    counts = dict(zip(cache.card.labels.classes, cache.labels.sum(axis=0), strict=True))
    return [min(found, key=lambda name: counts[name]) if found else "no label" for found in names]


def run_map(
    run: Path,
    out: Path,
    *,
    record: Record | None = None,
    cache: Path | None = None,
    direction: str = "ab",
    items: int = 1000,
) -> Path:
    """Write a PNG (or PDF): PCA and t-SNE of what a run compares across its two sensors.

    Shown are up to ``items`` queries and as many gallery items, drawn by a fixed seed, in the
    views that serve ``direction`` ("ab" or "ba"); the gap on it is over all of them.
    """
    opened = open_run(run, record=record, cache=cache)
    if direction not in opened.serves or direction[0] == direction[1]:
        raise UserError(
            f"no direction '{direction}' across sensors", where=run, fix="take --direction ab or ba"
        )
    data = opened.cache
    rng = np.random.default_rng(derive("map", data.digest))
    rows, parts = [], []
    for modality, view, splits in _sides(opened, direction):
        pool = data.rows(splits)
        chosen = np.sort(rng.choice(pool, size=min(items, len(pool)), replace=False))
        rows.append(chosen)
        parts.append(opened.views.of(modality, view, data.ids[chosen]))
    if parts[0].shape[1] != parts[1].shape[1]:
        raise UserError("the two sides have embeddings of different width", where=run)
    both = np.concatenate(parts)
    side = np.repeat([0, 1], [len(part) for part in parts])
    named = classes(data, np.concatenate(rows))
    gap = modality_gap(opened, direction)
    return sheet.save(_draw(opened, direction, both, side, named, gap), out)


def _draw(
    opened: Opened,
    direction: str,
    both: np.ndarray,
    side: np.ndarray,
    named: Sequence[str],
    gap: float,
) -> Figure:
    sensors = {m: opened.cache.card.modality(m).name for m in ("a", "b")}
    common = [name for name, _ in Counter(sorted(named)).most_common(CLASSES)]
    palette = dict(zip(sorted(common), _palette(), strict=False))
    legend = [*palette, *(["other classes"] if len(set(named)) > CLASSES else [])]
    entries = [(name, sheet.wrap(name, PANEL - 0.2)) for name in legend]
    tall = -(-sum(len(lines) for _, lines in entries) // 2) * STEP + STEP
    width, top = LEFT + 2 * (PANEL + GAP), 1.35
    bottom = top + 2 * (PANEL + 0.5)
    height = bottom + tall + 0.25
    figure = sheet.blank(width, height)
    sheet.write(figure, LEFT, 0.16, opened.title, size=13, bold=True)
    sheet.write(figure, LEFT, 0.48, f"modality gap {gap:.3f}", size=11, bold=True)
    served = opened.serves[direction]
    text = (
        f"Distance between the mean embeddings of {sensors[direction[0]]} (view {served.query}) "
        "and "
        f"{sensors[direction[1]]} (view {served.gallery}), as they serve "
        f"{arrow(direction, sensors)}; 0 to 2. Drawn: {int((side == 0).sum()):,} and "
        f"{int((side == 1).sum()):,} items, normalised, both in one plane."
    )
    if opened.cache.card.labels.kind == "multi":
        text += " Class of an item: the rarest of its labels."
    for number, line in enumerate(sheet.wrap(text, width - 2 * LEFT, size=8.5)):
        sheet.write(figure, LEFT, 0.72 + 0.17 * number, line, size=8.5, color=sheet.FAINT)
    marks = [[palette.get(name, OTHER) for name in named], [SIDES[which] for which in side]]
    for row, how in enumerate(("PCA", "t-SNE")):
        points = plane(both, how)
        for column, (colors, by) in enumerate(zip(marks, ("class", "modality"), strict=True)):
            x = LEFT + column * (PANEL + GAP)
            y = top + row * (PANEL + 0.5)
            axes = figure.add_axes(
                (x / width, 1 - (y + PANEL) / height, PANEL / width, PANEL / height)
            )
            _scatter(axes, points, side, colors)
            axes.set_title(f"{how}, by {by}", fontsize=9, loc="left")
    for which in (0, 1):
        x = LEFT + PANEL + GAP + which * 1.2
        text = f"{'●▲'[which]} {sensors[direction[which]]}"
        sheet.write(figure, x, bottom - 0.35, text, color=SIDES[which])
    _legend(figure, entries, palette, bottom - 0.1, tall)
    return figure


def _palette() -> list[str]:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    found = [to_hex(color) for color in colormaps["tab20"].colors]  # type: ignore[attr-defined]
    return [color for color in found if color != "#c7c7c7"]  # too near to the grey of the others


def _scatter(axes: Axes, points: np.ndarray, side: np.ndarray, colors: Sequence[str]) -> None:
    order = np.random.default_rng(0).permutation(len(points))  # neither modality lies on top
    shades = np.asarray(colors)
    size = 14 if len(points) < 600 else 7
    for part in np.array_split(order, max(1, len(order) // 50)):
        for which in (0, 1):
            chosen = part[side[part] == which]
            axes.scatter(
                points[chosen, 0], points[chosen, 1], s=size, marker=MARKS[which],
                c=shades[chosen].tolist(), linewidths=0, alpha=0.8,
            )  # fmt: skip
    axes.set_xticks([])
    axes.set_yticks([])
    axes.margins(0.04)
    for spine in axes.spines.values():
        spine.set_edgecolor("#d5d9e0")


def _legend(
    figure: Figure,
    entries: Sequence[tuple[str, list[str]]],
    palette: Mapping[str, str],
    top: float,
    tall: float,
) -> None:
    x, y = LEFT, top
    for name, lines in entries:
        if y + len(lines) * STEP > top + tall and x == LEFT:
            x, y = LEFT + PANEL + GAP, top
        sheet.write(figure, x, y, "●", color=palette.get(name, OTHER))
        for line in lines:
            sheet.write(figure, x + 0.16, y, line)
            y += STEP
