"""Training curves from the logs of runs (``metrics.jsonl``, one line an epoch)."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from crbench import words as metrics
from crbench.draw import sheet
from crbench.errors import UserError
from crbench.files import read_json, read_jsonl

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_NOT_TERMS = {"epoch", "step", "lr", "pairs_per_s", "seconds", "loss", "grad_norm", "val"}


Lines = dict[str, tuple[list[int], list[float]]]  # by name: epochs and a value in each


@dataclass(frozen=True)
class Curve:
    """One run's training: its loss and the mean of every logged term in each epoch, and the
    validation scores, mean over directions, of the epochs that have any."""

    title: str
    loss: Lines = field(default_factory=dict)
    terms: Lines = field(default_factory=dict)
    scores: Lines = field(default_factory=dict)


def read_curve(run: Path) -> Curve:
    """The log of a run folder; one without a log (floors are not trained) is a UserError."""
    log = run / "metrics.jsonl"
    entries = read_jsonl(log) if log.is_file() else []
    if not entries:
        raise UserError("this run has no training log", where=log, fix="name a trained run")
    info = read_json(run / "run.json")
    curve = Curve(f"{info['method']['title']}, seed {info['seed']}")
    for entry in entries:
        scores = entry.get("val", {}).get("scores", {})
        for lines, values in (
            (curve.loss, {"loss": entry.get("loss")}),
            (curve.terms, {name: entry[name] for name in entry if name not in _NOT_TERMS}),
            (curve.scores, {metrics.title(name): score["mean"] for name, score in scores.items()}),
        ):
            for name, value in values.items():
                if value is not None:
                    epochs, column = lines.setdefault(name, ([], []))
                    epochs.append(entry["epoch"])
                    column.append(value)
    return curve


def training_curves(runs: Sequence[Path], out: Path) -> Path:
    """Write a PNG of the training of runs."""
    return sheet.save(training_figure(runs), out)


def training_figure(runs: Sequence[Path], *, titled: bool = True) -> Figure:
    """A column a run, its whole loss above, its unweighted terms (log) below, and below them the
    validation scores of runs that have any."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    curves = [read_curve(run) for run in runs]
    down = 3 if any(curve.scores for curve in curves) else 2
    width, height = 4.35 * len(curves), 2.8 * down
    figure, grid = sheet.panels(width, height, down=down, across=len(curves))
    for curve, column in zip(curves, grid.T, strict=True):
        panels = (
            (curve.title, curve.loss),
            ("terms, unweighted", curve.terms),
            ("validation, mean of the directions", curve.scores),
        )
        logged = {epoch for _, lines in panels for epochs, _ in lines.values() for epoch in epochs}
        for row, (axes, (title, lines)) in enumerate(zip(column, panels, strict=False)):
            for color, (name, (epochs, values)) in zip(
                sheet.PALETTE * 4, lines.items(), strict=False
            ):
                marker = "o" if len(epochs) < 25 else None
                axes.plot(epochs, values, marker=marker, ms=3, color=color, label=name)
            if row == 1 and all(min(values) > 0 for _, values in lines.values()):
                axes.set_yscale("log")
                axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                axes.yaxis.set_minor_formatter(NullFormatter())
            axes.set_xlim(*_span(logged))
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
            sheet.panel_title(axes, title, 3.6)
            if row:
                axes.set_xlabel("epoch", fontsize=8.5, color=sheet.FAINT)
            if row and lines:
                axes.legend(
                    fontsize=7.5, frameon=False, ncols=3, loc="upper left", labelcolor=sheet.INK,
                    bbox_to_anchor=(-0.03, -0.2),
                )  # fmt: skip
    if titled:
        sheet.head(figure, "Training curves")
    return figure


def _span(epochs: set[int]) -> tuple[float, float]:
    """Limits that leave room beside the first and the last epoch, of which there may be one."""
    first, last = min(epochs), max(epochs)
    room = 0.04 * (last - first) or 0.5
    return first - room, last + room


def after_training(run: Path) -> None:
    """Leave ``curves.png`` in a trained run's folder; a picture that fails stops nothing."""
    out = run / "curves.png"
    log = run / "metrics.jsonl"
    if not log.is_file() or out.is_file() and out.stat().st_mtime >= log.stat().st_mtime:
        return
    try:
        training_curves([run], out)
    except Exception as error:
        print(f"no curves were drawn: {type(error).__name__}: {error}", file=sys.stderr)
