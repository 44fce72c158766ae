"""Boards as CSV and as plain data for JSON: all metrics of the records, as fractions."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from crbench.board.published import PublishedTable
from crbench.board.tables import Board, Cell, Row
from crbench.words import DIRECTIONS, arrow

_CSV_COLUMNS = (
    "origin", "dataset", "dataset_scale", "synthetic", "cache_digest", "protocol", "method",
    "kind", "direction", "direction_name", "metric", "value", "sd", "low", "high", "n",
    "params_trainable", "params_inference", "epochs", "date", "marks", "at_floor", "best",
    "not_worse", "comparable", "source",
)  # fmt: skip


def csv_of(columns: Sequence[str], lines: Iterable[Mapping[str, Any]]) -> str:
    """Lines as CSV: floats with six decimals; None, and what a line lacks, stay empty."""
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writeheader()
    for line in lines:
        writer.writerow({k: f"{v:.6f}" if isinstance(v, float) else v for k, v in line.items()})
    return out.getvalue()


def board_csv(boards: Sequence[Board], published: Sequence[PublishedTable] = ()) -> str:
    """One line per row, direction and metric."""
    return csv_of(_CSV_COLUMNS, [*_measured_lines(boards), *_published_lines(published)])


def _measured_lines(boards: Sequence[Board]) -> Iterator[dict[str, Any]]:
    for board in boards:
        for row in board.rows:
            about = _about(board, row)
            for (direction, metric), cell in sorted(row.cells.items()):
                if cell is not None:
                    yield about | _score(board, row, direction, metric, cell)


def _about(board: Board, row: Row) -> dict[str, Any]:
    line: dict[str, Any] = {
        "origin": "measured" if row.n else "analytic",
        "dataset": board.key.dataset,
        "dataset_scale": board.key.scale,
        "cache_digest": board.key.cache_digest,
        "protocol": board.key.protocol,
        "method": row.label,
        "kind": row.kind,
        "marks": "; ".join(row.marks),
    }
    if row.n:
        first = row.records[0]
        line["synthetic"] = int(first.dataset.synthetic)
        line["date"] = max(record.created for record in row.records)[:10]
        line["source"] = " ".join(record.run for record in row.records)
        if first.training is not None:
            for key in ("params_trainable", "params_inference", "epochs"):
                line[key] = getattr(first.training, key)
    return line


def _score(board: Board, row: Row, direction: str, metric: str, cell: Cell) -> dict[str, Any]:
    key = (row.label, direction, metric)
    return {
        "direction": direction,
        "direction_name": arrow(direction, board.sensors),
        "metric": metric,
        "value": cell.mean,
        "sd": cell.sd,
        "low": cell.low,
        "high": cell.high,
        "n": cell.n or None,
        "at_floor": int(key[1:] in row.at_floor),
        "best": int(key in board.best),
        "not_worse": int(key in board.not_worse),
    }


def _published_lines(published: Sequence[PublishedTable]) -> Iterator[dict[str, Any]]:
    for table in published:
        for row in table.rows:
            for direction, value in row.values.items():
                if value is not None:
                    yield {
                        "origin": "published",
                        "dataset": table.dataset,
                        "method": row.method,
                        "direction": direction,
                        "direction_name": arrow(direction, table.sensors),
                        "metric": row.metric,
                        "value": str(value),  # as printed
                        "comparable": row.comparable,
                        "source": row.source,
                    }


def board_json(boards: Sequence[Board], published: Sequence[PublishedTable] = ()) -> dict[str, Any]:
    """Boards as plain data: ``rows[i]["scores"][direction][metric]`` with mean, sd, low, high."""
    return {
        "boards": [
            {
                "title": board.title,
                **board.key._asdict(),
                "headline": list(board.metrics),
                "rows": [_row_json(row) for row in board.rows],
                "best": [list(key) for key in sorted(board.best)],
                "not_worse": [list(key) for key in sorted(board.not_worse)],
                "notes": list(board.notes),
            }
            for board in boards
        ],
        "published": [
            {
                "dataset": table.dataset,
                "heading": table.heading,
                "rows": [vars(row) for row in table.rows],
            }
            for table in published
        ],
    }


def _row_json(row: Row) -> dict[str, Any]:
    scores: dict[str, dict[str, Any]] = {direction: {} for direction in DIRECTIONS}
    for (direction, metric), cell in sorted(row.cells.items()):
        scores[direction][metric] = None if cell is None else vars(cell)
    return {
        "method": row.name,
        "label": row.label,
        "kind": row.kind,
        "n": row.n,
        "seeds": row.seeds,
        "runs": [record.run for record in row.records],
        "marks": list(row.marks),
        "scores": scores,
    }
