"""The page of one row: its scores, runs, classes, health, and how to make it again."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from typing import Any

from crbench.board.tables import Board, Row
from crbench.board.writers import more_metrics, page
from crbench.records import Record
from crbench.study.commands import command_lines
from crbench.words import DIRECTIONS

_HEALTH = (
    ("feature_std", "feature sd", "mean over features of the sd over items, unit embeddings"),
    ("spread", "spread", "feature sd × √D: 1 all over the sphere, 0 one point"),
    ("effective_rank", "effective rank", "exponential of the entropy of the singular values"),
    ("gap", "modality gap", "distance between the mean embeddings of the two sensors"),
    ("tied_share", "tied scores", "share of scores that equal another of the same query"),
)


def row_page(
    board: Board,
    row: Row,
    *,
    files: Sequence[str],
    pictures: Sequence[tuple[str, str, str]] = (),
    charts: Sequence[Any] = (),
) -> str:
    """HTML of a row's page; ``files`` are its records' copies, in the order of its runs."""
    record = row.records[0]
    metric = board.metrics[0]
    return page(
        "row.html",
        board=board,
        row=row,
        record=record,
        metric=metric,
        metrics=[*board.metrics, *more_metrics(board)],
        runs=list(zip(row.records, files, strict=True)),
        by_seed={direction: row.by_seed(direction, metric) for direction in DIRECTIONS},
        classes=_class_scores(row, metric),
        health=_health_lines(record),
        details=(
            ("Versions", record.versions), ("Hardware", record.hardware),
            ("Devices", record.devices), ("Digests", record.digests),
            ("Timings (s)", {key: f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"
                             for key, value in record.timings.items()}),
            ("Memory (GiB)", {key: f"{value:.2f}" for key, value in record.memory.items()}),
        ),
        commands=command_lines(record),
        cards=[
            ("Method card", json.dumps(record.method.card, indent=2, ensure_ascii=False)),
            ("Dataset card", json.dumps(record.dataset.card, indent=2, ensure_ascii=False)),
        ],
        pictures=pictures,
        charts=charts,
        alone=False,
        up="../",
        here="row",
    )  # fmt: skip


def _class_scores(row: Row, metric: str) -> list[tuple[str, list[float | None]]]:
    """The metric of each class over the row's runs, by direction; queries that carry it count."""
    scores: dict[str, dict[str, list[float]]] = {}
    for record in row.records:
        for direction, by_metric in record.per_class.items():
            for name, value in by_metric.get(metric, {}).items():
                values = scores.setdefault(name, {}).setdefault(str(direction), [])
                if value is not None:
                    values.append(value)
    return [
        (name, [statistics.fmean(v) if (v := values.get(d)) else None for d in DIRECTIONS])
        for name, values in sorted(scores.items())
    ]


def _health_lines(record: Record) -> list[tuple[str, str, list[float | None]]]:
    """Lines of the health table: name, meaning, a value a direction (its gallery's embeddings)."""
    by_direction = record.health.get("directions", {})

    def of(direction: str, key: str) -> float | None:
        entry = by_direction.get(direction, {})
        value = entry.get(key, entry.get("gallery", {}).get(key))
        return None if value is None else float(value)

    return [
        (title, meaning, [of(direction, key) for direction in DIRECTIONS])
        for key, title, meaning in _HEALTH
    ]
