"""The tables of a board: one a metric, the probes apart from them, and what others printed."""

from __future__ import annotations

from crbench import words as names
from crbench.board.board import Board, Row, average
from crbench.board.notes import AT_FLOOR
from crbench.board.published import PublishedTable
from crbench.board.significance import NOT_WORSE
from crbench.board.tables import (
    DASH,
    Column,
    Table,
    TableCell,
    TableRow,
    direction_columns,
    millions,
    percent,
    printed_percent,
    score_text,
)
from crbench.words import DIRECTIONS

_METHOD = Column("method", right=False, sort="text")
_MEASURED = (
    Column("mean", hint="mean of the four directions"),
    Column("n", hint="runs, one per seed"),
    Column("params (M)", brief=False, css="nowrap", hint="millions: trained / used at inference"),
    Column("date", brief=False, sort="text", css="nowrap"),
)
_PRINTED = (
    Column("params (M)", brief=False),
    Column("metric", brief=False, sort="text", css="text"),
    Column("comparable", sort="text", css="text"),
    Column("source", brief=False, sort="text", css="text"),
)
PARAMS = "Params: millions, trained / used at inference. Date: day of the newest run."


def measured_table(board: Board, metric: str) -> Table:
    """The rows of a board by direction, their mean, runs, parameters and dates."""
    columns = (_METHOD, *direction_columns(board.sensors, "score"), *_MEASURED)
    rows = tuple(_measured_row(board, row, metric) for row in board.rows)
    title = f"{names.title(metric)}, measured"
    return Table(title, columns, rows, notes=(*board.notes, PARAMS), marked=True)


def _measured_row(board: Board, row: Row, metric: str) -> TableRow:
    mean = average(row, metric)
    cells = (
        *(score_cell(board, row, direction, metric) for direction in DIRECTIONS),
        TableCell(percent(mean), sort=_six(mean)),
        TableCell(str(row.n or DASH), sort=str(row.n)),
        TableCell(_params(row)),
        TableCell(max((record.created for record in row.records), default=DASH)[:10]),
    )
    return TableRow(row.label, cells, row.kind, row.marks, "floor" * (row.kind == "floor"))


def score_cell(board: Board, row: Row, direction: str, metric: str) -> TableCell:
    """A score with its spread over seeds, its interval over queries, and the signs behind it: not
    significantly worse than the best, not above the floor."""
    key = (row.label, direction, metric)
    signs = NOT_WORSE * (key in board.not_worse) + AT_FLOOR * (key[1:] in row.at_floor)
    cell = row.cells.get(key[1:])
    if cell is None:
        return TableCell(signs=signs, best=key in board.best)
    known = cell.low is not None and cell.high is not None
    interval = (percent(cell.low), percent(cell.high)) if known else None
    return score_text(
        cell.mean, cell.sd,
        interval=interval, signs=signs, best=key in board.best, sort=_six(cell.mean),
    )  # fmt: skip


def _six(value: float | None) -> str:
    return "" if value is None else f"{value:.6f}"


def _params(row: Row) -> str:
    training = row.records[0].training if row.n else None
    if training is None:
        return DASH
    return f"{millions(training.params_trainable)} / {millions(training.params_inference)}"


def published_table(table: PublishedTable) -> Table:
    """Printed rows with their digits, and whether they may be held against measured ones."""
    rows = []
    for row in table.rows:
        values = [row.values[direction] for direction in DIRECTIONS]
        cells = [TableCell(printed_percent(v), sort="" if v is None else str(v)) for v in values]
        params = DASH if row.params_m is None else f"{row.params_m:.2f}"
        cells += [
            TableCell(params, sort=str(row.params_m or "")),
            TableCell(names.title(row.metric)),
            TableCell(row.comparable, hint=row.why),
            TableCell(row.source),
        ]
        rows.append(TableRow(row.method, tuple(cells), "published"))
    columns = (_METHOD, *direction_columns(table.sensors), *_PRINTED)
    return Table(f"{table.heading}, published", columns, tuple(rows))
