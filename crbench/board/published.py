"""Numbers that others printed, with their source. They never share a table with measured ones."""

from __future__ import annotations

import csv
from dataclasses import dataclass, field
from pathlib import Path

from crbench.board.tables import (
    DASH,
    METHOD_COLUMN,
    Column,
    Table,
    TableCell,
    TableRow,
    direction_columns,
    printed_percent,
)
from crbench.cards import PACKAGE
from crbench.errors import UserError
from crbench.words import DIRECTIONS, family, title

COMPARABLE = {  # may a published row be held against a measured one on the same dataset?
    "full": "same metric, same queries and gallery",
    "metric-only": "same metric, but query and gallery sets are not published",
    "unknown": "the source states neither which F1@5 it used nor its protocol",
    "no": "stated and different",
}
_PRINTED = (
    Column("params (M)", brief=False),
    Column("metric", brief=False, sort="text", css="text"),
    Column("comparable", sort="text", css="text"),
    Column("source", brief=False, sort="text", css="text"),
)
_BOARD_FILES = ("table-1.csv", "dx-jepa.csv", "table-2.csv", "repo-readme-table-2.csv")


@dataclass(frozen=True)
class PublishedRow:
    """One printed row. ``values`` are fractions by direction; None where nothing was printed."""

    method: str
    metric: str
    params_m: float | None
    values: dict[str, float | None]
    comparable: str  # a key of COMPARABLE
    why: str
    source: str
    average: float | None = None  # of the four directions, where the source prints it


@dataclass(frozen=True)
class PublishedTable:
    """All printed rows of one dataset and one column heading of its source ("F1@5", "mAP")."""

    dataset: str
    sensors: dict[str, str]
    heading: str
    rows: list[PublishedRow] = field(default_factory=list)

    def as_table(self) -> Table:
        """Printed rows with their digits, and whether they may be held against measured ones."""
        rows = []
        for row in self.rows:
            cells = [TableCell(printed_percent(v), sort=str(v or "")) for v in row.values.values()]
            cells += [
                TableCell(
                    f"{row.params_m:.2f}" if row.params_m else DASH, sort=str(row.params_m or "")
                ),
                TableCell(title(row.metric)),
                TableCell(row.comparable, hint=row.why),
                TableCell(row.source),
            ]
            rows.append(TableRow(row.method, tuple(cells), "published"))
        columns = (METHOD_COLUMN, *direction_columns(self.sensors), *_PRINTED)
        sources = "; ".join(dict.fromkeys(row.source for row in self.rows))
        notes = [f"Printed by others, not measured here, in percent as printed. Source: {sources}."]
        notes += [
            f"Comparable `{flag}`: {COMPARABLE[flag]} ({why})."
            for flag, why in dict.fromkeys((row.comparable, row.why) for row in self.rows)
        ]
        return Table(f"{self.heading}, published", columns, tuple(rows), tuple(notes))


def published_folder() -> Path:
    """Where the published tables lie: inside the wheel, else in the checkout."""
    installed = PACKAGE / "_cards" / "published"
    return installed if installed.is_dir() else PACKAGE.parent / "results" / "published"


def fraction(text: str) -> float | None:
    """A printed percentage as a fraction with its printed digits, e.g. ``"75.11"`` → 0.7511."""
    return round(float(text) / 100, 6) if text else None


def published_tables() -> list[PublishedTable]:
    """The printed comparisons by dataset and heading, rows in their printed order."""
    tables: dict[tuple[str, str], PublishedTable] = {}
    for name in _BOARD_FILES:
        for line in published_lines(name):
            key = (line["dataset"], family(line["metric"]))
            sensors = {"a": line["a"], "b": line["b"]}
            table = tables.setdefault(key, PublishedTable(key[0], sensors, key[1]))
            table.rows.append(_row(line, line["method"]))
    return list(tables.values())


def published_lines(name: str) -> list[dict[str, str]]:
    """The lines of a published file, by column, as printed."""
    path = published_folder() / name
    if not path.is_file():
        raise UserError("a published table is missing", where=path, fix="restore the file")
    with path.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def printed(name: str, dataset: str | None, line: dict[str, str], label: str) -> list[PublishedRow]:
    """The rows of a published file, one per metric, whose columns hold the texts of ``line``."""
    if dataset is None or not line:
        return []
    fitting = [
        row
        for row in published_lines(name)
        if row["dataset"] == dataset and all(row.get(key) == text for key, text in line.items())
    ]
    return [_row(row, label) for row in fitting]


def _row(line: dict[str, str], label: str) -> PublishedRow:
    return PublishedRow(
        method=label,
        metric=line["metric"],
        params_m=float(line["params_m"]) if line.get("params_m") else None,
        values={d: fraction(line[d]) for d in DIRECTIONS},
        comparable=line["comparable"],
        why=line["why"],
        source=f"{line['source']}, {line['table']}",
        average=fraction(line.get("avg") or ""),
    )
