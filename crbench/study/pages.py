"""Study tables as Markdown and CSV: the same records give the same bytes."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from crbench import words as names
from crbench.board.board_data import csv_of
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
)
from crbench.board.writers import page
from crbench.errors import UserError
from crbench.files import write_text
from crbench.scoring.intervals import Effect
from crbench.scoring.significance import ALPHA, detectable, holm, paired_p, pooled
from crbench.study.cards import StudyCard, option_words
from crbench.study.table import COLUMNS, MEAN, StudyRow, StudyTable, served_by
from crbench.words import arrow

Key = tuple[str, str]  # a column (a direction or the mean) and a metric

_CSV_FIGURES = {  # column: the field of a row that holds it by column and metric, and its part
    "n": "measured.n",
    "mean": "measured.value",
    "sd": "measured.sd",
    "low": "measured.low",
    "high": "measured.high",
    "printed": "printed",
    "minus_printed": "gap.value",
    "minus_reference": "effect.value",
    "minus_reference_low": "effect.low",
    "minus_reference_high": "effect.high",
    "printed_minus_reference": "printed_effect",
}
_CSV_COLUMNS = ("study", "dataset", "scale", "row", "metric", "direction", *_CSV_FIGURES)


def _bracketed(effect: Effect) -> str:
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
    options = {"--dataset": dataset, "--scale": scale if scale != "paper" else None}
    words = option_words({**options, "--set": list(overrides)})
    return shlex.join(["crbench", "ablate", study.name, *words])


def check_place(file: Path, call: str) -> None:
    """UserError where the page at hand was made by another command: it is not replaced unasked."""
    if file.is_file() and f"`{call} --seeds " not in file.read_text(encoding="utf-8"):
        raise UserError(
            "the table here was made with another scale or other keys",
            where=file,
            fix="give this one another folder by --out",
        )


def study_markdown(table: StudyTable, note: str = "") -> str:
    """The whole page of a study; ``note`` is the paragraph on what we make of it."""
    return page(
        "study.md",
        table=table,
        study=table.study,
        heading=study_title(table),
        call=study_command(table.study, table.dataset, table.scale, table.overrides),
        shown=[shown for metric in table.metrics for shown in metric_tables(table, metric)],
        protocol_note=protocol_note,
        note=note.strip(),
    )


def _metric_table(
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
        rows.append(TableRow(row.name, tuple(cells), marks=_marks(row), tag=tag))
    columns = (Column("row", right=False), *map(Column, heads), *(column for column, _ in more))
    return Table(title, columns, tuple(rows), **fields)


def _measured_cell(row: StudyRow, key: Key, **fields: Any) -> TableCell:
    """What was measured, a mean over seeds and its sd; ``fields`` are others of the cell."""
    effect = row.measured.get(key)
    return score_text(effect.value, effect.sd, **fields) if effect else TableCell(**fields)


def _n_cell(row: StudyRow) -> TableCell:
    """How many seeds stand behind a row."""
    return TableCell(str(len(row.records) or DASH))


def _marks(row: StudyRow) -> tuple[str, ...]:
    collapsed = sum(record.collapsed for record in row.records.values())
    mark = f"collapsed ({collapsed} of {len(row.records)})" if collapsed else ""
    return tuple(filter(None, (mark, row.problem)))


def metric_tables(table: StudyTable, metric: str) -> Iterator[Table]:
    """What was measured, how far it is from the paper, and what the changes do in both."""
    name = names.title(metric)

    def size(row: StudyRow) -> TableCell:
        return TableCell(millions(row.first.params_trainable or 0) if row.first else DASH)

    def views(row: StudyRow) -> TableCell:
        return TableCell(served_by(row.first, table.sensors) if row.first else DASH)

    wide = [(Column("trained (M)", brief=False), size), (Column("served by", brief=False), views)]
    more = [(Column("n"), _n_cell), *wide]
    yield _metric_table(
        table, metric, _measured_cell, title=f"{name}, measured", more=more, marked=True
    )
    if any(row.gap for row in table.rows):
        yield _metric_table(
            table, metric, _gap_cell, title=f"{name}, beside the published value",
            notes=("Published → measured − published. " + _published_note(table),),
        )  # fmt: skip
    if len(table.rows) > 1:
        others = [row for row in table.rows if row.name != table.study.reference]
        yield _metric_table(
            replace(table, rows=others), metric, _effect_cells(others, metric),
            title=f"{name}, difference to “{table.study.reference}”",
            notes=("Measured, paired by seed; below it the same difference as published. "
                   + _tests_note(others, metric),),
        )  # fmt: skip


def page_table(table: StudyTable, metric: str) -> Table:
    """What was measured, for a page: below each value the published one."""

    def cell(row: StudyRow, key: Key) -> TableCell:
        known = key in row.printed
        below = (f"paper {printed_percent(row.printed[key])}",) if known else ()
        return _measured_cell(row, key, below=below)

    return _metric_table(
        table, metric, cell, title=names.title(metric), more=[(Column("n"), _n_cell)]
    )


def _gap_cell(row: StudyRow, key: Key) -> TableCell:
    text, gap = printed_percent(row.printed.get(key)), row.gap.get(key)
    return TableCell(f"{text} → {_bracketed(gap)}" if gap else text)


def _effect_cells(rows: Sequence[StudyRow], metric: str) -> Callable[[StudyRow, Key], TableCell]:
    """Makes the cells of differences; † stands at those whose p, after Holm's correction for the
    number of tests in the table, is below .05."""
    repeated = {
        (row.name, key): effect
        for row in rows
        for key, effect in row.effect.items()
        if key[1] == metric and effect.sd is not None
    }
    tests = {at: paired_p(e.value, e.sd or 0.0, e.n) for at, e in repeated.items()}
    shown = {at for at, p in holm(tests).items() if p < ALPHA}

    def cell(row: StudyRow, key: Key) -> TableCell:
        effect, known = row.effect.get(key), row.printed_effect.get(key)
        below = () if known is None else (f"published {points(known)}",)
        signs = "†" if (row.name, key) in shown else ""
        return TableCell(_bracketed(effect) if effect else DASH, below=below, signs=signs)

    return cell


def _tests_note(rows: Sequence[StudyRow], metric: str) -> str:
    """What † means, and the smallest difference that the table can tell at its seeds."""
    spreads = [
        (effect.sd, effect.n)
        for row in rows
        for key, effect in row.effect.items()
        if key[1] == metric and effect.sd is not None
    ]
    if not spreads:
        return "One seed: nothing can be tested."
    n = min(n for _, n in spreads)
    least = detectable(pooled([sd for sd, _ in spreads]) / n**0.5, n - 1)
    return (
        "†: p < .05 (Student's t) after Holm's correction for the number of tests in this table; "
        "brackets are not corrected. Power: the smallest difference found with 80 % power at "
        f"α = .05 (two-sided, before Holm) is {100 * least:.1f} points ({n} seeds)."
    )


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


def study_csv(table: StudyTable) -> str:
    """One line per row, metric and direction; values are fractions."""
    return csv_of((*_CSV_COLUMNS, "serves", "problem"), _csv_lines(table))


def _csv_lines(table: StudyTable) -> Iterator[dict[str, Any]]:
    for row in table.rows:
        about = {"study": table.study.name, "dataset": table.dataset, "scale": table.scale}
        about |= {"row": row.name, "problem": row.problem}
        about["serves"] = served_by(row.first, table.sensors) if row.first else ""
        keys = dict.fromkeys([*row.measured, *row.printed])
        if not keys:
            yield about
        for key in keys:
            line: dict[str, Any] = about | {"direction": key[0], "metric": key[1]}
            for column, place in _CSV_FIGURES.items():
                field, _, part = place.partition(".")
                value = getattr(row, field).get(key)
                line[column] = getattr(value, part, None) if part else value
            yield line


def study_note(page: Path) -> str:
    """The paragraph on what we make of a study, from ``<study>.note.md`` beside its page."""
    note = page.with_suffix(".note.md")
    return note.read_text(encoding="utf-8") if note.is_file() else ""


def write_study(table: StudyTable, out: Path) -> list[Path]:
    """Write ``<study>.md`` and ``.csv`` into ``out``; the page ends with its note."""
    paths = [out / f"{table.study.name}{suffix}" for suffix in (".md", ".csv")]
    write_text(paths[0], study_markdown(table, study_note(paths[0])))
    write_text(paths[1], study_csv(table))
    return paths
