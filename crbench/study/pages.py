"""Study tables as Markdown and CSV: the same records give the same bytes."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from crbench import words as names
from crbench.board.board_data import csv_of
from crbench.board.markdown import markdown_table
from crbench.board.notes import protocol_note
from crbench.board.tables import (
    DASH,
    Column,
    Table,
    TableCell,
    TableRow,
    millions,
    points,
    printed_percent,
    score_text,
    text_table,
)
from crbench.errors import UserError
from crbench.files import write_text
from crbench.scoring.intervals import Effect
from crbench.study.cards import StudyCard
from crbench.study.table import COLUMNS, MEAN, StudyRow, StudyTable, served
from crbench.words import arrow

Key = tuple[str, str]  # a column (a direction or the mean) and a metric

_HOW = """± is the sd over seeds (trainings), n their number. Brackets hold the 95 % interval of a
mean over seeds (Student's t); they cover other trainings, not other queries, whose intervals stand
in the records. Values and differences are percent and percentage points."""
_CSV_COLUMNS = (
    "study", "dataset", "scale", "row", "metric", "direction", "n", "mean", "sd", "low", "high",
    "printed", "minus_printed", "minus_reference", "minus_reference_low", "minus_reference_high",
    "printed_minus_reference", "serves", "problem",
)  # fmt: skip


def bracketed_points(effect: Effect) -> str:
    """A difference with its interval over seeds, if there is more than one."""
    if effect.low is None or effect.high is None:
        return points(effect.value)
    return f"{points(effect.value)} [{points(effect.low)}, {points(effect.high)}]"


def study_title(table: StudyTable) -> str:
    """What the table shows and on what; synthetic data say so here."""
    record = table.record
    data = record.dataset.title if record else table.dataset
    note = ""
    if record and record.dataset.synthetic and "synthetic" not in data.lower():
        note = " (synthetic)"
    return f"{table.study.table}: {table.study.title}, on {data}{note}, scale {table.scale}"


def study_command(
    study: StudyCard, dataset: str, scale: str | None, overrides: Sequence[str]
) -> str:
    """The command that makes a table, without its number of seeds."""
    words = ["crbench", "ablate", study.name, "--dataset", dataset]
    words += ["--scale", scale] if scale not in (None, "paper") else []
    words += [word for item in overrides for word in ("--set", item)]
    return shlex.join(word for word in words if word)


def check_place(page: Path, call: str) -> None:
    """UserError where the page at hand was made by another command: it is not replaced unasked."""
    if page.is_file() and f"`{call} --seeds " not in page.read_text(encoding="utf-8"):
        raise UserError(
            "the table here was made with another scale or other keys",
            where=page,
            fix="give this one another folder by --out",
        )


def study_markdown(table: StudyTable, note: str = "") -> str:
    """The whole page of a study; ``note`` is the paragraph on what we make of it."""
    study = table.study
    call = study_command(study, table.dataset, table.scale, table.overrides)
    parts = [
        f"# {study_title(table)}\n",
        f"{study.question}\n",
        f"Made by `{call} --seeds {table.seeds}` from records;",
        f"do not edit it by hand.\n\n{_HOW}\n",
    ]
    if table.record:
        alt = f"Difference of each row to {study.reference}, measured and published"
        parts.append(f"![{alt}]({study.name}.png)\n")
        parts.append(protocol_note(table.record, table.sensors) + "\n")
    for metric in table.metrics:
        for shown in _metric_tables(table, metric):
            parts += [f"## {shown.title}\n", *shown.notes, markdown_table(shown)]
    parts += ["## Rows\n", markdown_table(_card_table(table))]
    if note:
        parts.append(f"## What we make of it\n\n{note.strip()}\n")
    return "\n".join(parts)


def metric_table(
    table: StudyTable,
    metric: str,
    cell: Callable[[StudyRow, Key], TableCell],
    *,
    title: str,
    more: Sequence[tuple[Column, Callable[[StudyRow], TableCell]]] = (),
    **fields: Any,
) -> Table:
    """The rows of a study by direction and mean, as far as anything was measured there, then
    ``more`` columns. ``cell`` makes the cells; ``fields`` are those of the table."""
    shown = [c for c in COLUMNS if any((c, metric) in row.measured for row in table.rows)]
    heads = [arrow(c, table.sensors) if c != MEAN else MEAN for c in shown]
    rows = []
    for row in table.rows:
        cells = [cell(row, (column, metric)) for column in shown] + [make(row) for _, make in more]
        tag = "reference" if row.name == table.study.reference else ""
        rows.append(TableRow(row.name, tuple(cells), row.name, _marks(row), tag))
    columns = (Column("row", right=False), *map(Column, heads), *(column for column, _ in more))
    return Table(title, columns, tuple(rows), **fields)


def measured_cell(row: StudyRow, key: Key, **fields: Any) -> TableCell:
    """What was measured, a mean over seeds and its sd; ``fields`` are others of the cell."""
    effect = row.measured.get(key)
    return score_text(effect.value, effect.sd, **fields) if effect else TableCell(**fields)


def n_cell(row: StudyRow) -> TableCell:
    """How many seeds stand behind a row."""
    return TableCell(str(len(row.records) or DASH))


def _marks(row: StudyRow) -> tuple[str, ...]:
    collapsed = sum(record.collapsed for record in row.records.values())
    said = [f"collapsed ({collapsed} of {len(row.records)})"] if collapsed else []
    return (*said, *([row.problem] if row.problem else []))


def _metric_tables(table: StudyTable, metric: str) -> Iterator[Table]:
    """What was measured, how far it is from the paper, and what the changes do in both."""
    name = names.title(metric)

    def size(row: StudyRow) -> TableCell:
        return TableCell(millions(row.first.params_trainable or 0) if row.first else DASH)

    def views(row: StudyRow) -> TableCell:
        return TableCell(served(row.first, table.sensors) if row.first else DASH)

    more = [(Column("n"), n_cell), (Column("trained (M)"), size), (Column("served by"), views)]
    yield metric_table(
        table, metric, measured_cell, title=f"{name}, measured", more=more, marked=True
    )
    if any(row.gap for row in table.rows):
        yield metric_table(
            table, metric, _gap_cell, title=f"{name}, beside the published value",
            notes=("Published → measured − published. " + _published_note(table), ""),
        )  # fmt: skip
    if len(table.rows) > 1:
        others = [row for row in table.rows if row.name != table.study.reference]
        yield metric_table(
            replace(table, rows=others), metric, _effect_cell,
            title=f"{name}, difference to “{table.study.reference}”",
            notes=("Measured, paired by seed; below it the same difference as published.\n",),
        )  # fmt: skip


def page_table(table: StudyTable, metric: str) -> Table:
    """What was measured, for a page: below each value the published one."""

    def cell(row: StudyRow, key: Key) -> TableCell:
        known = key in row.printed
        below = (f"paper {printed_percent(row.printed[key])}",) if known else ()
        return measured_cell(row, key, below=below)

    return metric_table(
        table, metric, cell, title=names.title(metric), more=[(Column("n"), n_cell)]
    )


def _gap_cell(row: StudyRow, key: Key) -> TableCell:
    text, gap = printed_percent(row.printed.get(key)), row.gap.get(key)
    return TableCell(f"{text} → {bracketed_points(gap)}" if gap else text)


def _effect_cell(row: StudyRow, key: Key) -> TableCell:
    effect, printed = row.effect.get(key), row.printed_effect.get(key)
    below = () if printed is None else (f"published {points(printed)}",)
    return TableCell(bracketed_points(effect) if effect else DASH, below=below)


def _published_note(table: StudyTable) -> str:
    """Where the published column comes from and what stands between it and ours."""
    sources = dict.fromkeys(row.source for row in table.published)
    flags = dict.fromkeys(f"`{row.comparable}` ({row.why})" for row in table.published)
    text = f"Source: {'; '.join(sources)}. Comparable: {'; '.join(flags)}."
    benchmark = table.study.benchmark(table.dataset)
    if benchmark and benchmark != table.dataset:
        text += (
            f" Published on {benchmark}, measured on {table.dataset}: "
            "levels differ for that reason alone; only the pattern below can agree."
        )
    return text


def _card_table(table: StudyTable) -> Table:
    """What each row changes, and the records behind it."""
    lines = []
    for row in table.rows:
        floor = bool(row.first and row.first.method.kind == "floor")
        changed = [*row.card.set, *([] if floor else table.overrides)]
        sets = ", ".join(f"`{item}`" for item in changed) or "the card as it stands"
        runs = ", ".join(
            f"{record.created[:10]} seed {seed}" for seed, record in row.records.items()
        )
        digest = row.first.method.digest[:8] if row.first else DASH
        lines.append([row.name, f"`{row.card.method}`", sets, f"`{digest}`", runs or DASH])
    heads = ["row", "card", "changes", "digest", "runs"]
    return text_table("Rows", heads, lines, left=heads)


def study_csv(table: StudyTable) -> str:
    """One line per row, metric and direction; values are fractions."""
    return csv_of(_CSV_COLUMNS, _csv_lines(table))


def _csv_lines(table: StudyTable) -> Iterator[dict[str, Any]]:
    for row in table.rows:
        about = {"study": table.study.name, "dataset": table.dataset, "scale": table.scale}
        about |= {"row": row.name, "problem": row.problem}
        about["serves"] = served(row.first, table.sensors) if row.first else ""
        keys = dict.fromkeys([*row.measured, *row.printed])
        if not keys:
            yield about
        for key in keys:
            line: dict[str, Any] = about | {"direction": key[0], "metric": key[1]}
            if effect := row.measured.get(key):
                line |= {"n": effect.n, "mean": effect.value, "sd": effect.sd}
                line |= {"low": effect.low, "high": effect.high}
            line["printed"] = row.printed.get(key)
            line["minus_printed"] = row.gap[key].value if key in row.gap else None
            if effect := row.effect.get(key):
                line["minus_reference"] = effect.value
                line["minus_reference_low"] = effect.low
                line["minus_reference_high"] = effect.high
            line["printed_minus_reference"] = row.printed_effect.get(key)
            yield line


def write_study(table: StudyTable, out: Path) -> list[Path]:
    """Write ``<study>.md`` and ``.csv`` into ``out``; the page ends with its ``.note.md``."""
    base = out / table.study.name
    note = base.with_suffix(".note.md")
    paths = [base.with_suffix(".md"), base.with_suffix(".csv")]
    write_text(
        paths[0], study_markdown(table, note.read_text(encoding="utf-8") if note.is_file() else "")
    )
    write_text(paths[1], study_csv(table))
    return paths
