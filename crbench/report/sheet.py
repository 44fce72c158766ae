"""Sheets of thumbnails with frames and captions, laid out in inches from the top left corner."""

from __future__ import annotations

from collections.abc import Sequence
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


def shorten(text: str, room: int) -> str:
    """``text`` cut at a word to at most ``room`` characters, with an ellipsis where cut."""
    if len(text) <= room:
        return text
    cut = text[: room - 1].rsplit(" ", 1)[0].rstrip(" ,;")
    return f"{cut if len(cut) > room // 2 else text[: room - 1]}…"


def label_lines(labels: Sequence[str], room: int, lines: int) -> list[str]:
    """Labels one a line, at most ``lines`` of them; the last one tells how many are left out."""
    if len(labels) > lines:
        kept = [shorten(label, room) for label in labels[: lines - 1]]
        return [*kept, f"and {len(labels) - lines + 1} more"]
    return [shorten(label, room) for label in labels]


def save(figure: Figure, path: Path) -> Path:
    """Write the figure as PNG, or PDF where the name ends so, atomically; returns the path."""
    kind = "pdf" if path.suffix.lower() == ".pdf" else "png"
    stable = {"Software": None} if kind == "png" else {"CreationDate": None, "Producer": None}
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=kind, metadata=stable)
    return path
