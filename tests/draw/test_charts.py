"""Charts: nothing that is drawn lies outside its axes, whichever row and panel is the best."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from matplotlib.figure import Figure

from crbench.board.rows import boards
from crbench.board.tables import Board
from crbench.draw import charts
from crbench.records import Record

Make = Callable[..., Record]
Inside = Callable[[Figure], None]
LOW_FIRST = {"aa": 0.05, "bb": 0.5, "ab": 0.4, "ba": 0.97}
METHODS = ("cr-jepa", "x-jepa", "rejepa", "random")


def board_of(make_record: Make, *, rows: int = 3, spread: float = 0.002) -> Board:
    """The largest stands in the last row and the last panel, the smallest in the first ones."""
    records = []
    for number in range(rows):
        record = make_record(
            METHODS[number % 3], 0.1, spread=spread,
            values={d: v * (0.2 + 0.8 * number / max(1, rows - 1)) for d, v in LOW_FIRST.items()},
        )  # fmt: skip
        name = f"method-{number:02d}"
        changes = {"name": name, "title": name, "digest": f"{number:064d}"}
        records.append(record.model_copy(
            update={"method": record.method.model_copy(update=changes), "run": name}
        ))  # fmt: skip
    (board,) = boards(records)
    return board


@pytest.mark.parametrize("rows", [1, 3, 40])
def test_every_point_lies_inside_its_panel(
    make_record: Make, all_inside: Inside, rows: int
) -> None:
    board = board_of(make_record, rows=rows)
    metric = board.metrics[0]
    figure = charts.by_direction(board, metric)
    assert len(figure.axes) == 4
    all_inside(figure)
    drawn = {round(x, 6) for axes in figure.axes for line in axes.lines for x in line.get_xdata()}
    for row in board.rows[:-1]:
        for direction in LOW_FIRST:
            cell = row.cells[direction, metric]
            assert cell is not None and round(100 * cell.mean, 6) in drawn
    all_inside(charts.asymmetry(board, metric))
    for of in charts.COSTS:
        chart = charts.cost(board, metric, of)
        assert chart is not None
        all_inside(chart)


def test_scores_over_k_lie_inside_their_panels(make_record: Make, all_inside: Inside) -> None:
    record = make_record("cr-jepa", 0.3)
    raw = record.model_dump()
    for direction, top in (("aa", 0.1), ("bb", 0.2), ("ab", 0.3), ("ba", 0.99)):
        for stem in ("f1_item", "p", "label_r", "pair_r"):
            for k in (1, 5, 10, 50, 100):
                value = top * k / 100 if stem == "pair_r" else top / k
                raw["scores"][direction][f"{stem}@{k}"] = {
                    "value": value, "low": 0.5 * value, "high": min(1.0, 1.5 * value)
                }  # fmt: skip
    (board,) = boards([Record.model_validate(raw)])
    figure = charts.k_curves(board.rows[0], board)
    assert figure is not None and len(figure.axes) == 4
    all_inside(figure)
    assert charts.k_curves(board.rows[-1], board) is None  # chance has no curve


def test_long_names_stay_on_the_page(make_record: Make, all_inside: Inside) -> None:
    board = board_of(make_record)
    sensors = {"a": "Sentinel-1 IW GRD ascending orbit", "b": "Sentinel-2 MSI level 2A"}
    rows = tuple(replace(row, label=f"{row.label} {'with a long name ' * 6}") for row in board.rows)
    board = replace(board, sensors=sensors, rows=rows)
    all_inside(charts.by_direction(board, board.metrics[0]))
    all_inside(charts.asymmetry(board, board.metrics[0]))
