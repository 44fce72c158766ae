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


@dataclass(frozen=True)
class Curve:
    """One run's training: epochs and the mean of every logged term in each.

    ``scores`` are the validation scores, mean over directions: {metric: ([epoch], [value])}.
    """

    title: str
    epochs: list[int]
    terms: dict[str, list[float]]
    scores: dict[str, tuple[list[int], list[float]]] = field(default_factory=dict)


def read_curve(run: Path) -> Curve:
    """The log of a run folder; one without a log (floors are not trained) is a UserError."""
    log = run / "metrics.jsonl"
    lines = read_jsonl(log) if log.is_file() else []
    if not lines:
        raise UserError("this run has no training log", where=log, fix="name a trained run")
    info = read_json(run / "run.json")
    names = [name for name in lines[0] if name not in _NOT_TERMS]
    terms = {name: [line[name] for line in lines] for name in ("loss", *names) if name in lines[0]}
    title = f"{info['method']['title']}, seed {info['seed']}"
    scores: dict[str, tuple[list[int], list[float]]] = {}
    for line in lines:
        for metric, score in line.get("val", {}).get("scores", {}).items():
            if score["mean"] is not None:
                epochs, values = scores.setdefault(metric, ([], []))
                epochs.append(line["epoch"])
                values.append(score["mean"])
    return Curve(title, [line["epoch"] for line in lines], terms, scores)


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
        for row, (axes, (title, lines)) in enumerate(zip(column, _panels(curve), strict=False)):
            for color, (name, (epochs, values)) in zip(
                sheet.PALETTE * 4, lines.items(), strict=False
            ):
                marker = "o" if len(epochs) < 25 else None
                axes.plot(epochs, values, marker=marker, ms=3, color=color, label=name)
            if row == 1 and all(min(values) > 0 for _, values in lines.values()):
                axes.set_yscale("log")
                axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                axes.yaxis.set_minor_formatter(NullFormatter())
            axes.set_xlim(*_span(curve.epochs))
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


def _panels(curve: Curve) -> list[tuple[str, dict[str, tuple[list[int], list[float]]]]]:
    """Title and named lines (epochs, values) of each panel, from above."""
    lines = {name: (curve.epochs, values) for name, values in curve.terms.items()}
    loss = {"loss": lines.pop("loss")} if "loss" in lines else {}
    scores = {metrics.title(name): line for name, line in curve.scores.items()}
    return [
        (curve.title, loss),
        ("terms, unweighted", lines),
        ("validation, mean of the directions", scores),
    ]


def _span(epochs: Sequence[int]) -> tuple[float, float]:
    """Limits that leave room beside the first and the last epoch, of which there may be one."""
    room = 0.04 * (epochs[-1] - epochs[0]) or 0.5
    return epochs[0] - room, epochs[-1] + room


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
