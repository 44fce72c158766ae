"""Charts of a board and of its rows, drawn by matplotlib from the cells that its tables show."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import TYPE_CHECKING

from crbench import words as names
from crbench.board.tables import CEILING, Board, Row, average
from crbench.draw import sheet
from crbench.records import TrainingEntry
from crbench.words import DIRECTIONS

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKS = "osD^vPX*"
_SMALL = (3.6, 2.9)  # inches
COSTS: dict[str, tuple[str, Callable[[TrainingEntry], float]]] = {
    "seconds": ("seconds of training, one run", lambda training: training.seconds),
    "params": ("parameters at inference (M)", lambda training: training.params_inference / 1e6),
}


def _axis_labels(axes: Axes, x: str, y: str, room: float = 2.3) -> None:
    for set_label, text in ((axes.set_xlabel, x), (axes.set_ylabel, y)):
        set_label("\n".join(sheet.wrap(text, room, size=9)), fontsize=9, color=sheet.FAINT)


def _measured(board: Board) -> list[Row]:
    return [row for row in board.rows if row.n]


def _look(board: Board, row: Row) -> tuple[str, str]:
    """Colour and mark of a row, the same in every chart of a board; floors are grey."""
    number = [other.label for other in _measured(board)].index(row.label)
    color = sheet.PALETTE[number % len(sheet.PALETTE)]
    return sheet.FAINT if row.kind == "floor" else color, _MARKS[number % len(_MARKS)]


def by_direction(board: Board, metric: str) -> Figure:
    """A panel per direction: each row's mean with its interval, chance dashed,
    the ceiling of a synthetic set dotted."""
    rows = list(reversed(_measured(board)))
    labels = [sheet.wrap(row.label, 2.2, size=8.5, lines=1)[0] for row in rows]
    height = max(1.1, 0.3 * len(rows)) + 0.65
    figure, grid = sheet.panels(9.9, height, across=4, sharex=True, sharey=True)
    for direction, title, axes in zip(DIRECTIONS, board.arrows(), grid[0], strict=True):
        for height, row in enumerate(rows):
            cell = row.cells.get((direction, metric))
            if cell is None:
                continue
            color, mark = _look(board, row)
            if cell.low is not None and cell.high is not None:
                axes.plot([100 * cell.low, 100 * cell.high], [height] * 2, color=color, lw=1.6)
            axes.plot(100 * cell.mean, height, mark, color=color, ms=5)
        chance = board.rows[-1].cells.get((direction, metric))
        if chance is not None:
            axes.axvline(100 * chance.mean, color=sheet.FAINT, lw=0.9, ls=(0, (3, 3)))
        for row in board.rows:
            top = row.cells.get((direction, metric)) if row.name == CEILING else None
            if top is not None:
                axes.axvline(100 * top.mean, color=sheet.FAINT, lw=0.9, ls=(0, (1, 2)))
        sheet.panel_title(axes, title, 1.6)
        axes.tick_params(axis="y", length=0, colors=sheet.INK)
    axes.set_yticks(range(len(rows)), labels)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlim(left=0)  # shared: only now are all panels' points known
    return figure


def asymmetry(board: Board, metric: str) -> Figure:
    """a→b against b→a: on the diagonal both ways are equally good."""
    figure, ((axes,),) = sheet.panels(*_SMALL)
    means: list[float] = []
    for row in _measured(board):
        ab, ba = row.cells.get(("ab", metric)), row.cells.get(("ba", metric))
        if ab is None or ba is None:
            continue
        color, mark = _look(board, row)
        axes.errorbar(
            100 * ab.mean, 100 * ba.mean, xerr=100 * (ab.sd or 0), yerr=100 * (ba.sd or 0),
            fmt=mark, color=color, ms=6, elinewidth=1.1,
        )  # fmt: skip
        means += [100 * ab.mean, 100 * ba.mean]
    low, high = (min(means), max(means)) if means else (0.0, 1.0)
    room = max(2.0, 0.08 * (high - low))
    axes.plot([low - room, high + room], [low - room, high + room], color=sheet.FAINT, lw=0.8)
    arrows = dict(zip(DIRECTIONS, board.arrows(), strict=True))
    _axis_labels(axes, f"{arrows['ab']}, %", f"{arrows['ba']}, %")
    return figure


def cost(board: Board, metric: str, of: str) -> Figure | None:
    """The mean of four directions against a cost, ``of`` being a key of ``COSTS``; None where no
    row of a method states it."""
    title, measure = COSTS[of]
    figure, ((axes,),) = sheet.panels(*_SMALL)
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
    _axis_labels(axes, title, "mean of four, %")
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
    figure, grid = sheet.panels(0.6 + 3.4 * len(stems), 2.8, across=len(stems))
    lines = {}
    for number, ((stem, ks), axes) in enumerate(zip(stems, grid[0], strict=True)):
        for direction, label, color, mark in zip(
            DIRECTIONS, board.arrows(), sheet.PALETTE, _MARKS, strict=False
        ):
            cells = [(k, row.cells.get((direction, f"{stem}@{k}"))) for k in ks]
            line = [(k, cell) for k, cell in cells if cell is not None]
            if not line:
                continue
            (lines[direction],) = axes.plot(
                [k for k, _ in line], [100 * cell.mean for _, cell in line], mark, ls="-", ms=4,
                lw=1.4, color=color, label=label,
            )  # fmt: skip
            band = [(k, c.low, c.high) for k, c in line if c.low is not None and c.high is not None]
            axes.fill_between(
                [k for k, _, _ in band], [100 * low for _, low, _ in band],
                [100 * high for _, _, high in band], color=color, alpha=0.15, lw=0,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_xticks(ks, [str(k) for k in ks])
        axes.minorticks_off()
        sheet.panel_title(axes, names.title(f"{stem}@k"), 3.0)
        _axis_labels(axes, "k", "%" if number == 0 else "")
    sheet.legend_below(figure, list(lines.values()), 4 if len(stems) > 1 else 2)
    return figure
