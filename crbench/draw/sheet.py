"""Sheets of thumbnails with frames and captions, laid out in inches from the top left corner."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crbench.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DPI = 160
RIGHT, WRONG, PLAIN = "#1a8f3c", "#d0342c", "#3b4252"
INK, FAINT = "#1c1f26", "#5b6270"
FONT = 8.0  # points; captions, at DPI 160 about 18 px high
LINE = 0.145  # inches a caption line
FRAME = 3.2  # points


def blank(width: float, height: float) -> Figure:
    """A white figure of ``width`` × ``height`` inches, drawn without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def write(
    figure: Figure,
    x: float,
    y: float,
    text: str,
    *,
    size: float = FONT,
    color: str = INK,
    bold: bool = False,
    align: str = "left",
) -> None:
    """A line of text whose capitals reach up to ``y`` inches below the figure's top."""
    width, height = figure.get_size_inches()
    baseline = y + 0.9 * size / 72  # not the box's top, which moves with the letters in it
    figure.text(
        x / width,
        1 - baseline / height,
        text,
        size=size,
        color=color,
        weight="bold" if bold else "normal",
        ha=align,
        va="baseline",
    )


def thumbnail(
    figure: Figure,
    x: float,
    y: float,
    side: float,
    picture: np.ndarray,
    frame: str,
    caption: Sequence[tuple[str, str, bool]] = (),
) -> None:
    """A picture (H, W, 3) in [0, 1] framed in a colour; caption lines are (text, colour, bold)."""
    width, height = figure.get_size_inches()
    axes = figure.add_axes((x / width, 1 - (y + side) / height, side / width, side / height))
    axes.imshow(picture, interpolation="nearest", aspect="auto")
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_edgecolor(frame)
        spine.set_linewidth(FRAME)
    for index, (text, color, bold) in enumerate(caption):
        write(figure, x, y + side + 0.06 + index * LINE, text, color=color, bold=bold)


@cache
def text_width(text: str, size: float = FONT) -> float:
    """Width of a line of text in inches, as it is drawn."""
    from matplotlib.textpath import TextPath

    return float(TextPath((0, 0), text, size=size).get_extents().x1) / 72 if text.strip() else 0.0


def wrap(text: str, room: float, *, size: float = FONT, lines: int | None = None) -> list[str]:
    """``text`` broken at words into lines at most ``room`` inches wide.

    A word that is wider is broken where it must be. What does not go into ``lines`` is cut, and
    an ellipsis says so.
    """
    found: list[str] = []
    for word in text.split():
        if found and text_width(f"{found[-1]} {word}", size) <= room:
            found[-1] += f" {word}"
            continue
        while text_width(word, size) > room and len(word) > 1:
            cut = next(
                n
                for n in range(len(word) - 1, 0, -1)
                if n == 1 or text_width(word[:n], size) <= room
            )
            found.append(word[:cut])
            word = word[cut:]
        found.append(word)
    if lines is None or len(found) <= lines:
        return found
    last = found[lines - 1]
    while last and text_width(f"{last}…", size) > room:
        last = last[:-1]
    return [*found[: lines - 1], f"{last.rstrip(' ,;')}…"]


def label_lines(labels: Sequence[str], room: float, lines: int) -> list[str]:
    """Labels one after another, each in as many lines ``room`` inches wide as it needs, later
    ones of a label set in; labels beyond ``lines`` lines are counted on the last."""
    found: list[str] = []
    for index, label in enumerate(labels):
        first, *others = wrap(label, room - text_width("n")) or [""]
        parts = [first, *(f"  {part}" for part in others)]
        left = len(labels) - index - 1
        if len(found) + len(parts) + (left > 0) > lines and found:
            return [*found, f"and {left + 1} more"]
        found += parts
    return found[:lines]


def save(figure: Figure, path: Path) -> Path:
    """Write the figure as PNG, or PDF where the name ends so, atomically; returns the path."""
    kind = "pdf" if path.suffix.lower() == ".pdf" else "png"
    stable = {"Software": None} if kind == "png" else {"CreationDate": None, "Producer": None}
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=kind, metadata=stable)
    return path
