"""Training curves from the logs of runs (``metrics.jsonl``, one line an epoch)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crbench.errors import UserError
from crbench.files import read_json, read_jsonl
from crbench.report import sheet

NOT_TERMS = {"epoch", "step", "lr", "pairs_per_s", "seconds", "loss", "grad_norm"}
COLORS = ("#2f6fb2", "#d98a1f", "#1a8f3c", "#a3479b", "#c0392b", "#4f8f8f", "#7a6a4f", "#555b66")
PANEL = (3.6, 2.3)  # inches


@dataclass(frozen=True)
class Curve:
    """One run's training: epochs and the mean of every logged term in each."""

    title: str
    epochs: list[int]
    terms: dict[str, list[float]]


def read_curve(run: Path) -> Curve:
    """The log of a run folder; one without a log (floors are not trained) is a UserError."""
    log = run / "metrics.jsonl"
    lines = read_jsonl(log) if log.is_file() else []
    if not lines:
        raise UserError("this run has no training log", where=log, fix="name a trained run")
    info = read_json(run / "run.json")
    names = [name for name in lines[0] if name not in NOT_TERMS]
    terms = {name: [line[name] for line in lines] for name in ("loss", *names) if name in lines[0]}
    title = f"{info['method']['title']}, seed {info['seed']}"
    return Curve(title, [line["epoch"] for line in lines], terms)


def training_curves(runs: Sequence[Path], out: Path) -> Path:
    """Write a PNG: a column a run, its whole loss above and its unweighted terms below (log)."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

    curves = [read_curve(run) for run in runs]
    width = 0.4 + len(curves) * (PANEL[0] + 0.75)
    height = 1.2 + 2 * (PANEL[1] + 0.5)
    figure = sheet.blank(width, height)
    sheet.write(figure, 0.4, 0.14, "Training curves", size=13, bold=True)
    for column, curve in enumerate(curves):
        x = 0.75 + column * (PANEL[0] + 0.75)
        for row, names in enumerate((["loss"], [n for n in curve.terms if n != "loss"])):
            y = 0.75 + row * (PANEL[1] + 0.5)
            bottom = 1 - (y + PANEL[1]) / height
            axes = figure.add_axes((x / width, bottom, PANEL[0] / width, PANEL[1] / height))
            for color, name in zip(COLORS * 4, names, strict=False):
                marker = "o" if len(curve.epochs) < 25 else ""
                axes.plot(
                    curve.epochs, curve.terms[name], marker, ls="-", ms=3, color=color, label=name
                )
            if row and all(min(curve.terms[name]) > 0 for name in names):
                axes.set_yscale("log")
                axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                axes.yaxis.set_minor_formatter(NullFormatter())
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
            axes.set_title(curve.title if not row else "terms, unweighted", fontsize=9, loc="left")
            axes.tick_params(labelsize=8)
            axes.grid(color="#e6e8ec", lw=0.6)
            axes.spines[["top", "right"]].set_visible(False)
            if row:
                axes.set_xlabel("epoch", fontsize=8)
                if names:
                    axes.legend(
                        fontsize=7,
                        frameon=False,
                        ncols=4,
                        loc="upper left",
                        bbox_to_anchor=(-0.03, -0.18),
                    )
    return sheet.save(figure, out)
