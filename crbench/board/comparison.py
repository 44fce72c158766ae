"""A comparison of two methods as a table for the terminal and as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from crbench import words as names
from crbench.words import DIRECTIONS, arrow

if TYPE_CHECKING:
    from crbench.evaluation.compare import Comparison, Difference

ALPHA = 0.05


def verdict(cell: Difference) -> str:
    """``better``, ``worse`` (of a against b), ``not significantly different`` or ``undefined``."""
    p, difference = cell["p"], cell["difference"]
    if p is None or difference is None:
        return "undefined"
    if p >= ALPHA:
        return "not significantly different"
    return "better" if difference > 0 else "worse"


def as_data(found: Comparison) -> dict[str, Any]:
    """All metrics of all common directions; differences are fractions, a minus b."""
    return {
        "a": list(found.a),
        "b": list(found.b),
        "dataset": found.data.card.name,
        "cache_digest": found.data.digest,
        "protocol": found.protocol.model_dump(mode="json"),
        "headline": found.data.card.headline,
        "differences": {
            direction: {metric: {**cell, "verdict": verdict(cell)} for metric, cell in part.items()}
            for direction, part in found.differences.items()
        },
    }


def notes(found: Comparison) -> list[str]:
    """What the numbers mean, and what they do not."""
    na, nb = len(found.a), len(found.b)
    protocol = found.protocol
    lines = [
        f"Protocol `{protocol.name}`, {protocol.n_query:,} queries, {protocol.n_gallery:,} gallery "
        "items. Difference: A minus B in percentage points, with its 95 % interval.",
        f"p: two-sided paired bootstrap over queries; significant below {ALPHA}, each line by "
        "itself, not corrected for their number.",
    ]
    if max(na, nb) == 1:
        lines.append("One training each: other seeds of the same methods may differ more.")
    else:
        lines.append(
            f"Trainings: {na} and {nb}, " + ("paired in the order given." if na == nb else "drawn "
            "on each side by itself.")
        )  # fmt: skip
    return lines


def print_table(found: Comparison, console: Console | None = None) -> None:
    """The headline metrics of the dataset's card, one line per metric and direction."""
    console = console or Console(highlight=False)
    card = found.data.card
    sensors = {m: card.modality(m).name for m in ("a", "b")}
    for label, paths in (("A", found.a), ("B", found.b)):
        console.print(Text(f"{label}: {', '.join(paths)}"), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("metric")
    table.add_column("direction")
    for column in ("A − B", "95 %", "p"):
        table.add_column(column, justify="right")
    table.add_column("A is")
    for metric in card.headline:
        for direction in (d for d in DIRECTIONS if d in found.differences):
            cell = found.differences[direction].get(metric)
            if cell is not None:
                table.add_row(names.title(metric), arrow(direction, sensors), *_shown(cell))
    console.print(table)
    for note in notes(found):
        console.print(Text(f"- {note}", style="dim"))


def _shown(cell: Difference) -> list[str]:
    difference, low, high, p = (cell[key] for key in ("difference", "low", "high", "p"))
    if difference is None or low is None or high is None or p is None:
        return ["–", "–", "–", verdict(cell)]
    points = [f"{100 * value:+.1f}" for value in (difference, low, high)]
    return [points[0], f"{points[1]} … {points[2]}", f"{p:.3f}", verdict(cell)]
