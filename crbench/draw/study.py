"""A study as a picture: how far each row lies from the reference row, measured and published."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from crbench import words as names
from crbench.draw import sheet
from crbench.scoring.intervals import Effect
from crbench.study.pages import study_title
from crbench.study.table import COLUMNS, MEAN, StudyRow, StudyTable
from crbench.words import arrow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OURS, THEIRS = "#2f6fb2", "#d98a1f"
PANEL, GAP, LEFT, RIGHT = 1.9, 0.28, 2.3, 0.25  # inches
TOP, BOTTOM, STEP = 0.95, 0.75, 0.34


def write_picture(table: StudyTable, out: Path) -> Path:
    """Write ``<study>.png`` into the folder ``out``."""
    return sheet.save(study_figure(table), out / f"{table.study.name}.png")


def study_figure(table: StudyTable, *, titled: bool = True) -> Figure:
    """A panel per direction: how far each row lies from the reference row, in percentage points.

    Dots are measured means with their 95 % interval over seeds, diamonds the published numbers.
    Rows that vary one number are drawn as lines over it.
    """
    metric = table.metrics[0]
    shown = [c for c in COLUMNS if any((c, metric) in row.measured for row in table.rows)]
    curve = all(row.card.x is not None for row in table.rows)
    rows = table.rows if curve else [r for r in table.rows if r.name != table.study.reference]
    tall = 1.9 if curve else max(3, len(rows)) * STEP
    left = 0.75 if curve else LEFT
    width = left + len(shown) * (PANEL + GAP) + RIGHT
    top = TOP if titled else TOP - 0.24
    height = top + tall + BOTTOM
    figure = sheet.blank(width, height)
    if titled:
        sheet.write(figure, 0.15, 0.12, study_title(table), size=11, bold=True)
    n = max((len(row.records) for row in table.rows), default=0)
    said = f"{names.title(metric)}, percentage points to “{table.study.reference}”"
    sheet.write(figure, 0.15, top - 0.59, said, color=sheet.FAINT)
    sheet.write(
        figure,
        0.15,
        height - 0.22,
        f"● measured, {n} seed{'s' * (n != 1)}, 95 % interval over seeds",
        color=OURS,
    )
    if any(row.printed for row in table.rows):
        sheet.write(figure, 3.3, height - 0.22, "◆ published", color=THEIRS)
    first: Axes | None = None
    for index, column in enumerate(shown):
        box = (
            (left + index * (PANEL + GAP)) / width,
            BOTTOM / height,
            PANEL / width,
            tall / height,
        )
        share: dict[str, Any] = {"sharey": first}
        if not curve:
            share["sharex"] = first
        axes = figure.add_axes(box, **share)
        first = first or axes
        (_curve if curve else _dots)(axes, rows, (column, metric))
        head = arrow(column, table.sensors) if column != MEAN else "mean of the four"
        axes.set_title(head, fontsize=9, loc="left")
        axes.tick_params(labelsize=8, length=2, labelleft=index == 0)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#e6e8ec", lw=0.6)
        axes.set_axisbelow(True)
    return figure


def _zero() -> Effect:
    return Effect(0.0, None, None, None, 0)


def _dots(axes: Axes, rows: list[StudyRow], key: tuple[str, str]) -> None:
    for place, row in enumerate(reversed(rows)):
        if effect := row.effect.get(key):
            _dot(axes, effect, place, across=True)
        if key in row.printed_effect:
            axes.plot(100 * row.printed_effect[key], place - 0.18, "D", ms=4, color=THEIRS)
    axes.axvline(0, color=sheet.FAINT, lw=0.8)
    axes.set_yticks(range(len(rows)), [row.name for row in reversed(rows)])
    axes.set_ylim(-0.6, len(rows) - 0.4)


def _curve(axes: Axes, rows: list[StudyRow], key: tuple[str, str]) -> None:
    ours, theirs = [], []
    for row in rows:
        x = float(row.card.x or 0)
        if key in row.measured:
            effect = row.effect.get(key) or _zero()  # the reference row itself
            _dot(axes, effect, x, across=False)
            ours.append((x, 100 * effect.value))
        if key in row.printed:
            theirs.append((x, 100 * row.printed_effect.get(key, 0.0)))
    for points, color, mark in ((ours, OURS, ""), (theirs, THEIRS, "D")):
        if points:
            axes.plot(
                *zip(*sorted(points), strict=True), marker=mark, ls="-", lw=1.2, ms=4, color=color
            )
    axes.axhline(0, color=sheet.FAINT, lw=0.8)
    axes.set_xticks([float(row.card.x or 0) for row in rows])


def _dot(axes: Axes, effect: Effect, place: float, *, across: bool) -> None:
    value = 100 * effect.value
    if effect.low is not None and effect.high is not None:
        ends = [100 * effect.low, 100 * effect.high]
        axes.plot(
            ends if across else [place] * 2, [place] * 2 if across else ends, color=OURS, lw=1.6
        )
    x, y = (value, place) if across else (place, value)
    axes.plot(x, y, "o", ms=5, color=OURS)
