"""Scores of runs over one key of a synthetic set's ``[source]``: how fast they fall off it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from crbench import words as names
from crbench.draw import sheet
from crbench.records import Record
from crbench.scoring.intervals import Effect, over_seeds
from crbench.words import DIRECTIONS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Points = list[tuple[float, Effect]]  # the key's value and the score there, over seeds


def key_curves(records: Sequence[Record], key: str, metric: str) -> dict[tuple[str, str], Points]:
    """By method title and direction: ``metric``, a fraction, at every value of ``key``."""
    found: dict[tuple[str, str, float], list[float]] = {}
    for record in records:
        at = float(record.dataset.card["source"][key])
        for direction, scores in record.scores.items():
            value = scores[metric].value
            if value is not None:
                found.setdefault((record.method.title, direction, at), []).append(value)
    curves: dict[tuple[str, str], Points] = {}
    for (title, way, at), values in sorted(found.items()):
        effect = over_seeds(values)
        if effect is not None:
            curves.setdefault((title, way), []).append((at, effect))
    return curves


def robustness_figure(
    records: Sequence[Record], key: str, metric: str, *, words: str = "", log: bool = False
) -> Figure:
    """A panel per direction: each method over the values of ``key`` with its 95 % interval over
    seeds; ceiling dotted, chance dashed, the value of the training as an upright line.

    ``words`` say what the key is; ``log`` gives it a logarithmic axis, for values above 0.
    """
    from matplotlib.lines import Line2D

    curves = key_curves(records, key, metric)
    titles = list(dict.fromkeys(record.method.title for record in records))
    colors = dict(zip(titles, sheet.PALETTE * 4, strict=False))
    sensors = {str(which): entry.name for which, entry in records[0].modalities.items()}
    bounds = {float(r.dataset.card["source"][key]): r for r in records}
    figure, grid = sheet.panels(9.9, 2.7, across=4, sharex=True, sharey=True)
    for direction, axes in zip(DIRECTIONS, grid[0], strict=True):
        for title in titles:
            curve = curves.get((title, direction), [])
            at = [x for x, _ in curve]
            axes.plot(at, [100 * e.value for _, e in curve], "o-", ms=3, color=colors[title])
            ends = [(x, e) for x, e in curve if e.low is not None and e.high is not None]
            axes.vlines(
                [x for x, _ in ends], [100 * (e.low or 0) for _, e in ends],
                [100 * (e.high or 0) for _, e in ends], color=colors[title], lw=1.6,
            )  # fmt: skip
        for what, style in (("chance", (0, (3, 3))), ("ceiling", (0, (1, 2)))):
            drawn = [(x, (getattr(r, what) or {}).get(direction, {}).get(metric))
                     for x, r in sorted(bounds.items())]  # fmt: skip
            shown = [(x, 100 * value) for x, value in drawn if value is not None]
            if shown:
                axes.plot(*zip(*shown, strict=True), color=sheet.FAINT, lw=1.1, ls=style)
        if records[0].trained_on is not None:
            trained = records[0].trained_on.card["source"][key]
            axes.axvline(trained, color=sheet.FAINT, lw=0.6)
        if log:
            axes.set_xscale("log")
            axes.minorticks_off()
        axes.set_xticks(sorted(bounds), _apart(sorted(bounds), log=log))
        sheet.panel_title(axes, names.arrow(direction, sensors), 2.0)
        axes.set_xlabel(f"source.{key}", fontsize=8.5, color=sheet.FAINT)
    axes.set_ylim(bottom=0)  # shared: only now are all panels' points known
    marks = [Line2D([], [], color=colors[t], marker="o", ms=4, label=t) for t in titles]
    marks += [Line2D([], [], color=sheet.FAINT, ls=(0, (1, 2)), label="ceiling")] * any(
        record.ceiling for record in records
    )
    marks += [Line2D([], [], color=sheet.FAINT, ls=(0, (3, 3)), label="chance")]
    sheet.legend_below(figure, marks, 4)
    note = f"{names.title(metric)}, percent; trained at the upright line, scored at each value"
    sheet.head(figure, f"{records[0].dataset.title}: {words or key}", [note])
    return figure


def _apart(values: Sequence[float], *, log: bool) -> list[str]:
    """Tick labels of rising ``values``; one that would touch the label before it stays empty."""
    places = [math.log(value) if log else value for value in values]
    labels, last = [], -math.inf
    for value, place in zip(values, places, strict=True):
        room = place - last > 0.12 * (places[-1] - places[0])
        labels.append(f"{value:g}" if room else "")
        last = place if room else last
    return labels
