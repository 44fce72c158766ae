"""Charts of a board and of its rows, drawn by matplotlib from the cells that its tables show."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from crbench import words as names
from crbench.board.board import Board, Row, average
from crbench.draw import sheet
from crbench.draw.curves import COLORS
from crbench.records import TrainingEntry
from crbench.words import DIRECTIONS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GRID = "#e6e8ec"
MARKS = "osD^vPX*"
SMALL, BOX = (3.6, 2.9), (0.62, 0.52, 2.85, 2.25)  # inches: a small chart, and the axes in it
COSTS: dict[str, tuple[str, Callable[[TrainingEntry], float]]] = {
    "seconds": ("seconds of training, one run", lambda training: training.seconds),
    "params": ("parameters at inference (M)", lambda training: training.params_inference / 1e6),
}


def _axes(figure: Figure, box: tuple[float, float, float, float], **more: Any) -> Axes:
    """Axes in inches from the lower left, in the house's plain style."""
    width, height = figure.get_size_inches()
    x, y, w, h = box
    axes = figure.add_axes((x / width, y / height, w / width, h / height), **more)
    axes.tick_params(labelsize=8.5, length=2.5, colors=sheet.FAINT)
    axes.grid(color=GRID, lw=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(sheet.FAINT)
    return axes


def _names(axes: Axes, x: str, y: str) -> None:
    axes.set_xlabel(x, fontsize=9, color=sheet.FAINT)
    axes.set_ylabel(y, fontsize=9, color=sheet.FAINT)


def _measured(board: Board) -> list[Row]:
    return [row for row in board.rows if row.n]


def _look(board: Board, row: Row) -> tuple[str, str]:
    """Colour and mark of a row, the same in every chart of a board; floors are grey."""
    rows = _measured(board)
    place = [other.label for other in rows].index(row.label)
    color = sheet.FAINT if row.kind == "floor" else COLORS[place % len(COLORS)]
    return color, MARKS[place % len(MARKS)]


def by_direction(board: Board, metric: str) -> Figure:
    """A panel per direction: each row's mean with its interval over queries, chance dashed."""
    rows = _measured(board)
    labels = [sheet.wrap(row.label, 2.2, size=8.5, lines=1)[0] for row in rows]
    panel, left, gap = 1.65, 2.45, 0.22
    tall = max(1.1, 0.3 * len(rows))
    figure = sheet.blank(left + 4 * (panel + gap), tall + 0.85)
    first: Axes | None = None
    for number, direction in enumerate(DIRECTIONS):
        box = (left + number * (panel + gap), 0.45, panel, tall)
        axes = _axes(figure, box, sharey=first, sharex=first)
        first = first or axes
        for place, row in enumerate(reversed(rows)):
            cell = row.cells.get((direction, metric))
            if cell is None:
                continue
            color, mark = _look(board, row)
            if cell.low is not None and cell.high is not None:
                axes.plot([100 * cell.low, 100 * cell.high], [place] * 2, color=color, lw=1.6)
            axes.plot(100 * cell.mean, place, mark, color=color, ms=5)
        chance = board.rows[-1].cells.get((direction, metric))
        if chance is not None:
            axes.axvline(100 * chance.mean, color=sheet.FAINT, lw=0.9, ls=(0, (3, 3)))
        axes.set_title(board.arrows()[number], fontsize=9.5, loc="left", color=sheet.INK)
        axes.set_yticks(range(len(rows)), list(reversed(labels)))
        axes.tick_params(axis="y", labelleft=number == 0, length=0, colors=sheet.INK)
        axes.set_ylim(-0.6, len(rows) - 0.4)
    assert first is not None
    first.set_xlim(left=0)  # shared: only now are all panels' points known
    return figure


def asymmetry(board: Board, metric: str) -> Figure:
    """a→b against b→a: on the diagonal both ways are equally good."""
    figure = sheet.blank(*SMALL)
    axes = _axes(figure, BOX)
    seen: list[float] = []
    for row in _measured(board):
        ab, ba = row.cells.get(("ab", metric)), row.cells.get(("ba", metric))
        if ab is None or ba is None:
            continue
        color, mark = _look(board, row)
        axes.errorbar(
            100 * ab.mean, 100 * ba.mean, xerr=100 * (ab.sd or 0), yerr=100 * (ba.sd or 0),
            fmt=mark, color=color, ms=6, elinewidth=1.1,
        )  # fmt: skip
        seen += [100 * ab.mean, 100 * ba.mean]
    low, high = (min(seen), max(seen)) if seen else (0.0, 1.0)
    room = max(2.0, 0.08 * (high - low))
    axes.plot([low - room, high + room], [low - room, high + room], color=sheet.FAINT, lw=0.8)
    arrows = dict(zip(DIRECTIONS, board.arrows(), strict=True))
    _names(axes, f"{arrows['ab']}, %", f"{arrows['ba']}, %")
    return figure


def cost(board: Board, metric: str, of: str) -> Figure | None:
    """The mean of four directions against a cost, ``of`` being a key of ``COSTS``; None where no
    row of a method states it."""
    title, measure = COSTS[of]
    figure = sheet.blank(*SMALL)
    axes = _axes(figure, BOX)
    most = 0.0
    for row in _measured(board):
        trainings = [record.training for record in row.records if record.training is not None]
        quality = average(row, metric)
        if not trainings or quality is None or row.kind == "floor":
            continue
        value = statistics.fmean(measure(training) for training in trainings)
        color, mark = _look(board, row)
        axes.plot(value, 100 * quality, mark, color=color, ms=7)
        most = max(most, value)
    if not most:
        return None
    axes.set_xlim(0, 1.12 * most)
    axes.margins(y=0.2)
    _names(axes, title, "mean of four, %")
    return figure


def k_curves(row: Row, board: Board) -> Figure | None:
    """A metric over k, a panel a metric and a line a direction, with intervals over queries."""
    known = {metric for direction, metric in row.cells if direction in DIRECTIONS}
    stems = []
    for stem in ("f1_item", "p", "label_r", "pair_r"):
        ks = sorted(int(m.partition("@")[2]) for m in known if m.partition("@")[0] == stem)
        if len(ks) > 2:
            stems.append((stem, ks))
    if not stems:
        return None
    figure = sheet.blank(0.6 + 3.4 * len(stems), 3.2)
    for number, (stem, ks) in enumerate(stems):
        axes = _axes(figure, (0.6 + number * 3.4, 0.85, 2.8, 1.95))
        for direction, color, mark in zip(DIRECTIONS, COLORS, MARKS, strict=False):
            cells = [(k, row.cells.get((direction, f"{stem}@{k}"))) for k in ks]
            line = [(k, cell) for k, cell in cells if cell is not None]
            if not line:
                continue
            at = [k for k, _ in line]
            axes.plot(
                at, [100 * cell.mean for _, cell in line], mark, ls="-", ms=4, lw=1.4, color=color,
                label=board.arrows()[DIRECTIONS.index(direction)],
            )  # fmt: skip
            band = [(k, c.low, c.high) for k, c in line if c.low is not None and c.high is not None]
            axes.fill_between(
                [k for k, _, _ in band], [100 * low for _, low, _ in band],
                [100 * high for _, _, high in band], color=color, alpha=0.15, lw=0,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_xticks(ks, [str(k) for k in ks])
        axes.minorticks_off()
        axes.set_title(names.title(f"{stem}@k"), fontsize=9.5, loc="left", color=sheet.INK)
        _names(axes, "k", "%" if number == 0 else "")
        if number == 0:
            axes.legend(
                fontsize=8.5, frameon=False, ncols=4 if len(stems) > 1 else 2,
                loc="upper left", borderaxespad=0, bbox_to_anchor=(-0.05, -0.22),
                labelcolor=sheet.INK, columnspacing=1.2, handletextpad=0.4,
            )  # fmt: skip
    return figure
