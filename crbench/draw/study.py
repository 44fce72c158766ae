"""A study as a picture: how far each row lies from the reference row, measured and published."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from crbench import words as names
from crbench.draw import sheet
from crbench.scoring.intervals import Effect
from crbench.study.pages import study_title
from crbench.study.table import COLUMNS, MEAN, StudyRow, StudyTable
from crbench.words import arrow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_OURS, _THEIRS = sheet.PALETTE[:2]
_ZERO = Effect(0.0, None, None, None, 0)  # of the reference row to itself


def write_picture(table: StudyTable, out: Path) -> Path:
    """Write ``<study>.png`` into the folder ``out``."""
    return sheet.save(study_figure(table), out / f"{table.study.name}.png")


def study_figure(table: StudyTable, *, titled: bool = True) -> Figure:
    """A panel per direction: how far each row lies from the reference row, in percentage points.

    Dots are measured means with their 95 % interval over seeds, diamonds the published numbers.
    Rows that vary one number are drawn as lines over it.
    """
    from matplotlib.lines import Line2D

    metric = table.metrics[0]
    shown = [c for c in COLUMNS if any((c, metric) in row.measured for row in table.rows)]
    curve = all(row.card.x is not None for row in table.rows)
    rows = table.rows if curve else [r for r in table.rows if r.name != table.study.reference]
    width = 2.2 * len(shown) + (0.8 if curve else 2.3)
    height = 2.5 if curve else 0.34 * max(3, len(rows)) + 0.8
    figure, grid = sheet.panels(
        width, height, across=len(shown), sharey=True, sharex=False if curve else "row"
    )
    for column, axes in zip(shown, grid[0], strict=True):
        (_curve if curve else _dots)(axes, rows, (column, metric))
        head = arrow(column, table.sensors) if column != MEAN else "mean of the four"
        sheet.panel_title(axes, head, 2.0)
        if not curve:
            axes.tick_params(axis="y", length=0, colors=sheet.INK)
    n = max((len(row.records) for row in table.rows), default=0)
    marks = [
        Line2D([], [], ls="", marker="o", ms=5, color=_OURS,
               label=f"measured, {n} seed{'s' * (n != 1)}, 95 % interval over seeds"),
        Line2D([], [], ls="", marker="D", ms=4, color=_THEIRS, label="published"),
    ]  # fmt: skip
    sheet.legend_below(figure, marks if any(row.printed for row in table.rows) else marks[:1], 2)
    if titled:
        unit = f"{names.title(metric)}, percentage points to “{table.study.reference}”"
        sheet.head(figure, study_title(table), [unit])
    return figure


def _dots(axes: Axes, rows: list[StudyRow], key: tuple[str, str]) -> None:
    for height, row in enumerate(reversed(rows)):
        if effect := row.effect.get(key):
            _dot(axes, effect, height, across=True)
        if key in row.printed_effect:
            axes.plot(100 * row.printed_effect[key], height - 0.18, "D", ms=4, color=_THEIRS)
    axes.axvline(0, color=sheet.FAINT, lw=0.8)
    axes.set_yticks(
        range(len(rows)),
        [sheet.wrap(row.name, 2.2, size=8.5, lines=1)[0] for row in reversed(rows)],
    )
    axes.set_ylim(-0.6, len(rows) - 0.4)


def _curve(axes: Axes, rows: list[StudyRow], key: tuple[str, str]) -> None:
    ours, theirs = [], []
    for row in rows:
        x = float(row.card.x or 0)
        if key in row.measured:
            effect = row.effect.get(key) or _ZERO
            _dot(axes, effect, x, across=False)
            ours.append((x, 100 * effect.value))
        if key in row.printed:
            theirs.append((x, 100 * row.printed_effect.get(key, 0.0)))
    for points, color, mark in ((ours, _OURS, ""), (theirs, _THEIRS, "D")):
        if points:
            axes.plot(
                *zip(*sorted(points), strict=True), marker=mark, ls="-", lw=1.2, ms=4, color=color
            )
    axes.axhline(0, color=sheet.FAINT, lw=0.8)
    axes.set_xticks([float(row.card.x or 0) for row in rows])


def _dot(axes: Axes, effect: Effect, at: float, *, across: bool) -> None:
    value = 100 * effect.value
    if effect.low is not None and effect.high is not None:
        ends = [100 * effect.low, 100 * effect.high]
        axes.plot(ends if across else [at] * 2, [at] * 2 if across else ends, color=_OURS, lw=1.6)
    x, y = (value, at) if across else (at, value)
    axes.plot(x, y, "o", ms=5, color=_OURS)
