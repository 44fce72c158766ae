"""A comparison of two methods as a table for the terminal and as plain data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from crbench import words as names
from crbench.board.tables import DASH, print_notes, terminal_table, text_table
from crbench.words import DIRECTIONS, arrow

if TYPE_CHECKING:
    from crbench.evaluation.compare import Comparison, Difference

_ALPHA = 0.05
_DRAWN = {"query": "queries", "place": "places (scenes), of fewer than ten none"}


def verdict(cell: Difference) -> str:
    """``better``, ``worse`` (of a against b), ``not significantly different`` or ``undefined``."""
    p, difference = cell["p"], cell["difference"]
    if p is None or difference is None:
        return "undefined"
    if p >= _ALPHA:
        return "not significantly different"
    return "better" if difference > 0 else "worse"


def comparison_data(compared: Comparison) -> dict[str, Any]:
    """All metrics of all common directions; differences are fractions, a minus b."""
    return {
        "a": list(compared.a),
        "b": list(compared.b),
        "dataset": compared.data.card.name,
        "cache_digest": compared.data.digest,
        "protocol": compared.protocol.model_dump(mode="json"),
        "headline": compared.data.card.headline,
        "differences": {
            direction: {metric: {**cell, "verdict": verdict(cell)} for metric, cell in part.items()}
            for direction, part in compared.differences.items()
        },
    }


def _notes(compared: Comparison) -> list[str]:
    """What the numbers mean, and what they do not."""
    na, nb = len(compared.a), len(compared.b)
    protocol = compared.protocol
    pairs = "paired in the order given" if na == nb else "drawn on each side by itself"
    seeds = f"Trainings: {na} and {nb}, {pairs}."
    if max(na, nb) == 1:
        seeds = "One training each: other seeds of the same methods may differ more."
    return [
        f"Protocol `{protocol.name}`, {protocol.n_query:,} queries, {protocol.n_gallery:,} gallery "
        "items. Difference: A minus B in percentage points, with its 95 % interval.",
        f"p: two-sided paired bootstrap over {_DRAWN[protocol.resample]}; significant below "
        f"{_ALPHA}, each line by itself, not corrected for their number.",
        seeds,
    ]


def print_comparison_table(compared: Comparison) -> None:
    """The headline metrics of the dataset's card, one line per metric and direction."""
    console = Console(highlight=False)
    card = compared.data.card
    sensors = {m: card.modality(m).name for m in ("a", "b")}
    for label, paths in (("A", compared.a), ("B", compared.b)):
        console.print(Text(f"{label}: {', '.join(paths)}"), soft_wrap=True)
    lines = [
        [names.title(metric), arrow(direction, sensors), *_texts(difference)]
        for metric in card.headline
        for direction in DIRECTIONS
        if (difference := compared.differences.get(direction, {}).get(metric)) is not None
    ]
    heads = ["metric", "direction", "A − B", "95 %", "p", "A is"]
    table = text_table("A against B", heads, lines, left=["direction", "A is"])
    console.print(terminal_table(table))
    print_notes(console, _notes(compared))


def _texts(cell: Difference) -> list[str]:
    if verdict(cell) == "undefined":
        return [DASH, DASH, DASH, verdict(cell)]
    difference, low, high = (
        f"{100 * (cell[key] or 0):+.1f}" for key in ("difference", "low", "high")
    )
    return [difference, f"{low} … {high}", f"{cell['p']:.3f}", verdict(cell)]
