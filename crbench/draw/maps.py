"""Maps: the embeddings of both modalities in one plane, by class and by modality."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crbench.data.pair_labels import label_names
from crbench.draw import sheet
from crbench.errors import UserError
from crbench.evaluation.recorded import EvaluatedRun, open_evaluated
from crbench.records import Record
from crbench.seeds import derive
from crbench.words import arrow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from crbench.data.cache.reading import Cache

_SENSOR_COLORS = sheet.PALETTE[:2]
_MARKS = ("o", "^")  # modality a, modality b
_CLASSES = 19  # colours that eyes and palettes still tell apart; further classes are grey
_OTHERS = "#b8bdc7"


def plane(embeddings: np.ndarray, how: str) -> np.ndarray:
    """Coordinates (N, 2) of unit embeddings (N, R): ``"PCA"`` or ``"t-SNE"``, both seeded."""
    from threadpoolctl import threadpool_limits

    norms = np.linalg.norm(embeddings.astype(np.float64), axis=1, keepdims=True)
    unit = embeddings / np.maximum(norms, np.finfo(np.float64).tiny)
    with threadpool_limits(1):  # several threads add in another order, and t-SNE drifts apart
        if how == "PCA":
            from sklearn.decomposition import PCA

            points = PCA(2, svd_solver="full", random_state=0).fit_transform(unit)
        else:
            from sklearn.manifold import TSNE

            perplexity = min(30.0, (len(unit) - 1) / 3)
            points = TSNE(2, perplexity=perplexity, init="pca", random_state=0).fit_transform(unit)
    return np.asarray(points)


def item_classes(cache: Cache, rows: np.ndarray) -> list[str]:
    """One class an item (cache row): its own, or the rarest of its labels in the whole cache; the
    scene that it is part of where relevance is by place."""
    if cache.card.labels.kind == "place" and cache.places is not None:
        return [str(scene) for scene in cache.places[rows]]
    names = [label_names(cache, int(row)) for row in rows]
    if cache.card.labels.kind != "multi" or cache.labels is None:
        return [labels[0] if labels else "no label" for labels in names]
    counts = dict(zip(cache.card.labels.classes, cache.labels.sum(axis=0), strict=True))
    return [
        min(labels, key=lambda name: counts[name]) if labels else "no label" for labels in names
    ]


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
    opened = open_evaluated(run, record=record, cache=cache)
    if direction not in opened.serves or direction[0] == direction[1]:
        raise UserError(
            f"no direction '{direction}' across sensors", where=run, fix="take --direction ab or ba"
        )
    data, protocol = opened.cache, opened.protocol
    rng = np.random.default_rng(derive("map", data.digest))
    rows, parts = [], []
    names = opened.embeddings.serves[direction]
    for name, splits in zip(names, (protocol.query, protocol.gallery), strict=True):
        pool = data.rows(splits)
        chosen = np.sort(rng.choice(pool, size=min(items, len(pool)), replace=False))
        rows.append(chosen)
        parts.append(opened.embeddings.of(name, data.ids[chosen]))
    both = np.concatenate(parts)
    side = np.repeat([0, 1], [len(part) for part in parts])
    named = item_classes(data, np.concatenate(rows))
    return sheet.save(_draw(opened, direction, both, side, named), out)


def _draw(
    opened: EvaluatedRun,
    direction: str,
    both: np.ndarray,
    side: np.ndarray,
    named: Sequence[str],
) -> Figure:
    from matplotlib.lines import Line2D

    sensors = {m: opened.cache.card.modality(m).name for m in ("a", "b")}
    common = [name for name, _ in Counter(sorted(named)).most_common(_CLASSES)]
    palette = dict(zip(sorted(common), _palette(), strict=False))
    legend = [*palette, *(["other classes"] if len(set(named)) > _CLASSES else [])]
    figure, grid = sheet.panels(8.4, 8.8, down=2, across=2)
    kind = "scene" if opened.cache.card.labels.kind == "place" else "class"
    marks = [
        [palette.get(name, _OTHERS) for name in named], [_SENSOR_COLORS[which] for which in side]
    ]  # fmt: skip
    for row, how in zip(grid, ("PCA", "t-SNE"), strict=True):
        points = plane(both, how)
        for axes, colors, by in zip(row, marks, (kind, "modality"), strict=True):
            _scatter(axes, points, side, colors)
            sheet.panel_title(axes, f"{how}, by {by}", 3.9)

    def dot(label: str, color: str, mark: str = "o") -> Line2D:
        return Line2D([], [], ls="", marker=mark, ms=5, color=color, label=label)

    ends = zip(direction, _SENSOR_COLORS, _MARKS, strict=True)
    grid[1, 1].legend(
        handles=[dot(sensors[m], color, mark) for m, color, mark in ends], ncols=2, fontsize=8.5,
        frameon=False, loc="upper left", bbox_to_anchor=(-0.03, 0), labelcolor=sheet.INK,
    )  # fmt: skip
    sheet.legend_below(figure, [
        dot("\n".join(sheet.wrap(name, 3.6, size=8.5)), palette.get(name, _OTHERS))
        for name in legend
    ], 2)  # fmt: skip
    served = opened.serves[direction]
    gap = opened.record.health["directions"][direction]["gap"]
    text = (
        f"Modality gap {gap:.3f}: distance between the mean embeddings of "
        f"{sensors[direction[0]]} (view {served.query}) and {sensors[direction[1]]} "
        f"(view {served.gallery}), as they serve {arrow(direction, sensors)}; 0 to 2. Drawn: "
        f"{int((side == 0).sum()):,} and {int((side == 1).sum()):,} items, normalised, both in "
        "one plane."
    )
    if opened.cache.card.labels.kind == "multi":
        text += " Class of an item: the rarest of its labels."
    sheet.head(figure, opened.title, [text])
    return figure


def _palette() -> list[str]:
    from matplotlib import colormaps
    from matplotlib.colors import to_hex

    shades = [to_hex(color) for color in colormaps["tab20"].colors]  # type: ignore[attr-defined]
    return [color for color in shades if color != "#c7c7c7"]  # too near to the grey of the others


def _scatter(axes: Axes, points: np.ndarray, side: np.ndarray, colors: Sequence[str]) -> None:
    order = np.random.default_rng(0).permutation(len(points))  # neither modality lies on top
    shades = np.asarray(colors)
    size = 14 if len(points) < 600 else 7
    for part in np.array_split(order, max(1, len(order) // 50)):
        for which in (0, 1):
            chosen = part[side[part] == which]
            axes.scatter(
                points[chosen, 0], points[chosen, 1], s=size, marker=_MARKS[which],
                c=shades[chosen].tolist(), linewidths=0, alpha=0.8,
            )  # fmt: skip
    axes.set_xticks([])
    axes.set_yticks([])
    axes.margins(0.04)
    axes.set_box_aspect(1)
    axes.spines[:].set_visible(True)
    for spine in axes.spines.values():
        spine.set_edgecolor("#d5d9e0")
