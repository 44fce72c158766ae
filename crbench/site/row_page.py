"""The page of one row: its scores, runs, classes, health, and how to make it again."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from typing import Any

from crbench.board.html import more_metrics, page
from crbench.board.tables import Board, Row
from crbench.records import Record
from crbench.study.commands import command_lines
from crbench.words import DIRECTIONS, arrow

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
        facts=_facts(record, row, board),
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
    )


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


def _facts(record: Record, row: Row, board: Board) -> list[tuple[str, str]]:
    """What the record says beside its scores, as (name, text)."""
    training, data = record.training, record.dataset
    serves = "; ".join(
        f"{arrow(str(d), board.sensors)}: {s.query}" + (f" → {s.gallery}" * (s.query != s.gallery))
        for d, s in record.serves.items()
    )
    lines = [
        ("Dataset", f"{data.title}, scale {data.scale}, cache {data.cache_digest}"),
        ("Sensors", "; ".join(
            f"{entry.name}: {', '.join(entry.bands)}" for entry in record.modalities.values()
        )),
        ("Protocol", _protocol(record)),
        ("Served by", serves),
        ("Method", f"{record.method.title}, scale {record.method.scale}, "
                   f"card {record.method.digest}"),
        ("Paper", record.method.paper),
    ]  # fmt: skip
    if training is None:
        lines.append(("Training", "not stated: embeddings of another program"))
    else:
        lines += [
            ("Seeds", ", ".join(map(str, row.seeds))),
            ("Training", f"{training.epochs} of {training.epochs_planned} epochs, "
                         f"{training.steps:,} steps on {training.n_train:,} pairs "
                         f"({' + '.join(training.train_splits)}), {training.seconds:,.0f} s on "
                         f"{training.device}, {training.threads} threads, {training.precision}"),
            ("Parameters", f"{training.params_trainable:,} trained, "
                           f"{training.params_inference:,} used at inference"),
        ]  # fmt: skip
    tables = (
        ("Versions", record.versions), ("Hardware", record.hardware), ("Devices", record.devices),
        ("Digests", record.digests),
        ("Timings (s)", {key: f"{value:.2f}" for key, value in record.timings.items()}),
        ("Memory (GiB)", {key: f"{value:.2f}" for key, value in record.memory.items()}),
    )  # fmt: skip
    lines += [
        (name, ", ".join(f"{key} {value}" for key, value in table.items()))
        for name, table in tables
        if table
    ]
    return [(name, text) for name, text in lines if text]


def _protocol(record: Record) -> str:
    used = record.protocol
    return (
        f"{used.name}: {used.n_query:,} queries ({' + '.join(used.query)}) in {used.n_gallery:,} "
        f"items ({' + '.join(used.gallery)}), {used.similarity}, ties {used.ties}"
    )
