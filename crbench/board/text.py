"""Boards as Markdown, CSV and JSON: the same records give the same bytes."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from crbench import words as names
from crbench.board.board import Board, Cell, Row, average
from crbench.board.notes import AT_FLOOR
from crbench.board.probes import TITLE, probe_table
from crbench.board.published import COMPARABLE, PublishedTable
from crbench.board.significance import NOT_WORSE
from crbench.words import DIRECTIONS, arrow

INTRO = """# Leaderboard

Made by `crbench leaderboard` from run records and published tables; do not edit it by hand. Rows of
one table share data, cache and protocol. Numbers from different tables do not compare. The notes
under a table name the record of each run; `crbench reproduce RECORD` prints the commands that make
it again, and with `--run` runs them and compares the scores.
"""

PARAMS = "Params: millions, trained / used at inference. Date: day of the newest run."

PUBLISHED_INTRO = (
    """## Published numbers

Printed by others, not measured here, in percent as printed. *Comparable* says whether a row may be
held against a measured row on the same dataset: """
    + "; ".join(f"`{flag}` = {meaning}" for flag, meaning in COMPARABLE.items())
    + ".\n"
)


def percent(value: float | None) -> str:
    """A fraction as percent with one decimal; a dash where there is none."""
    return "–" if value is None else f"{100 * value:.1f}"


def cell_lines(cell: Cell | None) -> tuple[str, str]:
    """A cell's two lines: the mean (± sd), and the interval over queries."""
    if cell is None:
        return "–", ""
    top = percent(cell.mean) + (f" ± {100 * cell.sd:.1f}" if cell.sd is not None else "")
    if cell.low is None or cell.high is None:
        return top, ""
    return top, f"[{percent(cell.low)}, {percent(cell.high)}]"


def name(row: Row) -> str:
    """A row's name, floors marked."""
    return f"{row.label} (floor)" if row.kind == "floor" else row.label


def signs(board: Board, row: Row, direction: str, metric: str) -> str:
    """The signs behind a value: not significantly worse than the best, not above the floor."""
    found = NOT_WORSE if (row.label, direction, metric) in board.not_worse else ""
    return found + (AT_FLOOR if (direction, metric) in row.at_floor else "")


def params(row: Row) -> str:
    """Millions of parameters, trained / used at inference."""
    training = row.records[0].training if row.n else None
    if training is None:
        return "–"
    return f"{training.params_trainable / 1e6:.2f} / {training.params_inference / 1e6:.2f}"


def date(row: Row) -> str:
    """Day of the newest record behind the row."""
    return max((record.created for record in row.records), default="–")[:10]


def plain(text: str) -> str:
    """Text of a card as Markdown that shows it: no table is broken by it and no HTML begun."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "&#124;").replace("\n", " ")


def table_text(head: Sequence[str], lines: Sequence[Sequence[str]], *, left: bool = False) -> str:
    """A Markdown table; all columns but the first are set right unless ``left``."""
    rule = ["---", *["---" if left else "---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [head, rule, *lines]) + "\n"


def _markdown_cell(board: Board, row: Row, direction: str, metric: str) -> str:
    top, below = cell_lines(row.cells.get((direction, metric)))
    if (row.label, direction, metric) in board.best:
        top = f"**{top}**"
    top += signs(board, row, direction, metric)
    return f"{top}<br><sub>{below}</sub>" if below else top


def _measured(board: Board, metric: str) -> str:
    head = ["method", *map(plain, board.arrows()), "mean", "n", "params (M)", "date", "marks"]
    lines = [
        [
            plain(name(row)),
            *(_markdown_cell(board, row, direction, metric) for direction in DIRECTIONS),
            percent(average(row, metric)),
            str(row.n) if row.n else "–",
            params(row),
            date(row),
            plain("; ".join(row.marks)),
        ]
        for row in board.rows
    ]
    return table_text(head, lines)


def _published(table: PublishedTable) -> str:
    head = ["method", *(arrow(d, table.sensors) for d in DIRECTIONS)]
    head += ["params (M)", "metric", "comparable", "source"]
    lines = [
        [
            row.method,
            *("–" if (v := row.values[d]) is None else f"{100 * v:.2f}" for d in DIRECTIONS),
            "–" if row.params_m is None else f"{row.params_m:.2f}",
            names.title(row.metric),
            row.comparable,
            row.source,
        ]
        for row in table.rows
    ]
    return table_text(head, lines)


def markdown(boards: Sequence[Board], published: Sequence[PublishedTable] = ()) -> str:
    """The whole board as Markdown; every definition stands under its table."""
    parts = [INTRO]
    if not boards:
        parts.append("No records yet: `crbench demo` makes the first ones.\n")
    for board in boards:
        parts.append(f"## {plain(board.title)}\n")
        for metric in board.metrics:
            parts += [f"### {names.title(metric)}, measured\n", _measured(board, metric)]
        if (probes := probe_table(board)) is not None:
            parts += [f"### {TITLE}\n", table_text(*probes[:2]), f"{probes[2]}\n"]
        notes = [*board.notes, PARAMS]
        parts.append("\n".join(f"- {plain(note)}" for note in notes) + "\n")
    if published:
        parts.append(PUBLISHED_INTRO)
    for table in published:
        parts += [f"### {table.dataset}, {table.heading}, published\n", _published(table)]
    return "\n".join(parts)


CSV_HEAD = [
    "origin",
    "dataset",
    "dataset_scale",
    "synthetic",
    "cache_digest",
    "protocol",
    "method",
    "kind",
    "direction",
    "direction_name",
    "metric",
    "value",
    "sd",
    "low",
    "high",
    "n",
    "params_trainable",
    "params_inference",
    "epochs",
    "date",
    "marks",
    "at_floor",
    "best",
    "not_worse",
    "comparable",
    "source",
]


def csv_text(boards: Sequence[Board], published: Sequence[PublishedTable] = ()) -> str:
    """One line per row, direction and metric; values are fractions."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_HEAD, restval="", lineterminator="\n")
    writer.writeheader()
    for board in boards:
        for row in board.rows:
            for (direction, metric), cell in sorted(row.cells.items()):
                if cell is not None:
                    writer.writerow(_csv_line(board, row, direction, metric, cell))
    for table in published:
        for printed in table.rows:
            for direction, value in printed.values.items():
                if value is not None:
                    writer.writerow(
                        {
                            "origin": "published",
                            "dataset": table.dataset,
                            "method": printed.method,
                            "direction": direction,
                            "direction_name": arrow(direction, table.sensors),
                            "metric": printed.metric,
                            "value": value,
                            "comparable": printed.comparable,
                            "source": printed.source,
                        }
                    )
    return out.getvalue()


def _csv_line(board: Board, row: Row, direction: str, metric: str, cell: Cell) -> dict[str, Any]:
    dataset, scale, digest, protocol = board.key
    line: dict[str, Any] = {
        "origin": "measured" if row.n else "analytic",
        "dataset": dataset,
        "dataset_scale": scale,
        "cache_digest": digest,
        "protocol": protocol,
        "method": row.label,
        "kind": row.kind,
        "direction": direction,
        "direction_name": arrow(direction, board.sensors),
        "metric": metric,
        "value": f"{cell.mean:.6f}",
        "sd": "" if cell.sd is None else f"{cell.sd:.6f}",
        "low": "" if cell.low is None else f"{cell.low:.6f}",
        "high": "" if cell.high is None else f"{cell.high:.6f}",
        "n": cell.n or "",
        "marks": "; ".join(row.marks),
        "at_floor": int((direction, metric) in row.at_floor),
        "best": int((row.label, direction, metric) in board.best),
        "not_worse": int((row.label, direction, metric) in board.not_worse),
    }
    if row.n:
        first = row.records[0]
        line |= {
            "synthetic": int(first.dataset.synthetic),
            "date": date(row),
            "source": " ".join(record.run for record in row.records),
        }
        if first.training is not None:
            line |= {
                "params_trainable": first.training.params_trainable,
                "params_inference": first.training.params_inference,
                "epochs": first.training.epochs,
            }
    return line


def board_json(boards: Sequence[Board], published: Sequence[PublishedTable] = ()) -> dict[str, Any]:
    """Boards as plain data: ``rows[i]["scores"][direction][metric]`` with value, sd, low, high."""
    return {
        "boards": [
            {
                "title": board.title,
                "dataset": board.key[0],
                "scale": board.key[1],
                "cache_digest": board.key[2],
                "protocol": board.key[3],
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
