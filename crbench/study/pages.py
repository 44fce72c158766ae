"""Study tables as Markdown and CSV: the same records give the same bytes."""

from __future__ import annotations

import csv
import io
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

from crbench import words as names
from crbench.board.notes import protocol_note
from crbench.board.text import percent, table_text
from crbench.errors import UserError
from crbench.files import write_text
from crbench.scoring.intervals import Effect
from crbench.study.study import StudyCard
from crbench.study.table import COLUMNS, MEAN, StudyRow, StudyTable, served
from crbench.words import arrow

HOW = """± is the sd over seeds (trainings), n their number. Brackets hold the 95 % interval of a
mean over seeds (Student's t); they cover other trainings, not other queries, whose intervals stand
in the records. Values and differences are percent and percentage points."""


def points(value: float) -> str:
    """A difference of fractions in percentage points, with its sign."""
    return f"{100 * value:+.1f}".replace("-", "−")


def bracket(effect: Effect, how: Callable[[float], str]) -> str:
    """The interval, or nothing for a single seed."""
    if effect.low is None or effect.high is None:
        return ""
    return f" [{how(effect.low)}, {how(effect.high)}]"


def title(table: StudyTable) -> str:
    """What the table shows and on what; synthetic data say so here."""
    record = table.record
    data = record.dataset.title if record else table.dataset
    note = ""
    if record and record.dataset.synthetic and "synthetic" not in data.lower():
        note = " (synthetic)"
    return f"{table.study.table}: {table.study.title}, on {data}{note}, scale {table.scale}"


def command(study: StudyCard, dataset: str, scale: str | None, overrides: Sequence[str]) -> str:
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


def markdown(table: StudyTable, note: str = "") -> str:
    """The whole page of a study; ``note`` is the paragraph on what we make of it."""
    study = table.study
    call = command(study, table.dataset, table.scale, table.overrides)
    parts = [
        f"# {title(table)}\n",
        f"{study.question}\n",
        f"Made by `{call} --seeds {table.seeds}` from records;",
        f"do not edit it by hand.\n\n{HOW}\n",
    ]
    if table.record:
        alt = f"Difference of each row to {study.reference}, measured and published"
        parts.append(f"![{alt}]({study.name}.png)\n")
        parts.append(protocol_note(table.record, table.sensors) + "\n")
    for metric in table.metrics:
        parts += _metric(table, metric)
    parts.append(_about(table))
    if note:
        parts.append(f"## What we make of it\n\n{note.strip()}\n")
    return "\n".join(parts)


def _metric(table: StudyTable, metric: str) -> list[str]:
    shown = [c for c in COLUMNS if any((c, metric) in row.measured for row in table.rows)]
    heads = [arrow(c, table.sensors) if c != MEAN else MEAN for c in shown]
    name = names.title(metric)
    parts = [f"## {name}, measured\n", _measured(table, metric, shown, heads)]
    if any(row.gap for row in table.rows):
        lines = [
            [row.name, *(_gap(row, (column, metric)) for column in shown)] for row in table.rows
        ]
        parts += [
            f"## {name}, beside the published value\n",
            "Published → measured − published. " + _published_note(table),
            "",
            table_text(["row", *heads], lines),
        ]
    if len(table.rows) > 1:
        lines = [
            [row.name, *(_effect(row, (column, metric)) for column in shown)]
            for row in table.rows
            if row.name != table.study.reference
        ]
        parts += [
            f"## {name}, difference to “{table.study.reference}”\n",
            "Measured, paired by seed; below it the same difference as published.\n",
            table_text(["row", *heads], lines),
        ]
    return parts


def _measured(table: StudyTable, metric: str, shown: list[str], heads: list[str]) -> str:
    lines: list[list[str]] = []
    for row in table.rows:
        cells = [_plain(row.measured.get((column, metric))) for column in shown]
        first = row.first
        served_by = served(first, table.sensors) if first else "–"
        size = f"{(first.params_trainable or 0) / 1e6:.2f}" if first else "–"
        n = str(len(row.records)) if row.records else "–"
        collapsed = sum(record.collapsed for record in row.records.values())
        said = [f"collapsed ({collapsed} of {len(row.records)})"] if collapsed else []
        said += [row.problem] if row.problem else []
        lines.append([row.name, *cells, n, size, served_by, "; ".join(said)])
    head = ["row", *heads, "n", "trained (M)", "served by", "marks"]
    return table_text(head, lines)


def _plain(effect: Effect | None) -> str:
    if effect is None:
        return "–"
    return percent(effect.value) + (f" ± {100 * effect.sd:.1f}" if effect.sd is not None else "")


def _gap(row: StudyRow, key: tuple[str, str]) -> str:
    if key not in row.printed:
        return "–"
    text = f"{100 * row.printed[key]:.2f}"
    gap = row.gap.get(key)
    return text if gap is None else f"{text} → {points(gap.value)}{bracket(gap, points)}"


def _effect(row: StudyRow, key: tuple[str, str]) -> str:
    effect, printed = row.effect.get(key), row.printed_effect.get(key)
    ours = "–" if effect is None else f"{points(effect.value)}{bracket(effect, points)}"
    return ours if printed is None else f"{ours}<br><sub>published {points(printed)}</sub>"


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


def _about(table: StudyTable) -> str:
    """What each row changes, and the records behind it."""
    lines = []
    for row in table.rows:
        floor = bool(row.first and row.first.method.kind == "floor")
        changed = [*row.card.set, *([] if floor else table.overrides)]
        sets = ", ".join(f"`{item}`" for item in changed) or "the card as it stands"
        runs = ", ".join(
            f"{record.created[:10]} seed {seed}" for seed, record in row.records.items()
        )
        digest = row.first.method.digest[:8] if row.first else "–"
        lines.append([row.name, f"`{row.card.method}`", sets, f"`{digest}`", runs or "–"])
    return "## Rows\n\n" + table_text(
        ["row", "card", "changes", "digest", "runs"], lines, left=True
    )


CSV_HEAD = ["study", "dataset", "scale", "row", "metric", "direction", "n", "mean", "sd"]
CSV_HEAD += ["low", "high", "printed", "minus_printed", "minus_reference", "minus_reference_low"]
CSV_HEAD += ["minus_reference_high", "printed_minus_reference", "serves", "problem"]


def csv_text(table: StudyTable) -> str:
    """One line per row, metric and direction; values are fractions."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_HEAD, restval="", lineterminator="\n")
    writer.writeheader()

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.6f}"

    for row in table.rows:
        about = {"study": table.study.name, "dataset": table.dataset, "scale": table.scale}
        about |= {"row": row.name, "problem": row.problem}
        about["serves"] = served(row.first, table.sensors) if row.first else ""
        keys = dict.fromkeys([*row.measured, *row.printed])
        if not keys:
            writer.writerow(about)
        for key in keys:
            line = dict(about) | {"direction": key[0], "metric": key[1]}
            if effect := row.measured.get(key):
                line |= {"n": str(effect.n), "mean": number(effect.value), "sd": number(effect.sd)}
                line |= {"low": number(effect.low), "high": number(effect.high)}
            line["printed"] = number(row.printed.get(key))
            line["minus_printed"] = number(row.gap[key].value) if key in row.gap else ""
            if effect := row.effect.get(key):
                line["minus_reference"] = number(effect.value)
                line["minus_reference_low"] = number(effect.low)
                line["minus_reference_high"] = number(effect.high)
            line["printed_minus_reference"] = number(row.printed_effect.get(key))
            writer.writerow(line)
    return out.getvalue()


def write_study(table: StudyTable, out: Path) -> list[Path]:
    """Write ``<study>.md`` and ``.csv`` into ``out``; the page ends with its ``.note.md``."""
    base = out / table.study.name
    note = base.with_suffix(".note.md")
    paths = [base.with_suffix(".md"), base.with_suffix(".csv")]
    write_text(
        paths[0], markdown(table, note.read_text(encoding="utf-8") if note.is_file() else "")
    )
    write_text(paths[1], csv_text(table))
    return paths
