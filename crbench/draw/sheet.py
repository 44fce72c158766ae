"""Figures in the house's style: panels, legends, heads, and sheets of thumbnails with captions.

Constrained layout places panels; matplotlib's packers place text and thumbnails.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from crbench.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.offsetbox import OffsetBox

DPI = 160
RIGHT, WRONG, PLAIN = "#1a8f3c", "#d0342c", "#3b4252"
INK, FAINT, RULE = "#1c1f26", "#5b6270", "#e6e8ec"
PALETTE = ("#2f6fb2", "#d98a1f", "#1a8f3c", "#a3479b", "#c0392b", "#4f8f8f", "#7a6a4f", "#555b66")
SIDE, CAPTION = 1.5, 1.67  # inches: a thumbnail, and a line of its caption
CAPTION_LINES = 8  # under a thumbnail at most, the first one aside
_FONT = 8.0  # points; captions, at DPI 160 about 18 px high
_FRAME = 3.2  # points

Caption = list[tuple[str, str, bool]]  # lines: text, colour, bold


@dataclass(frozen=True)
class Thumbnail:
    """Pictures (H, W, 3) in [0, 1] side by side, their frames' colour, what is written below.

    ``room`` is the width in inches that it takes in its row; without pictures it is a gap.
    """

    pictures: Sequence[np.ndarray] = ()
    caption: Caption | None = None
    frame: str = PLAIN
    room: float = CAPTION


def _blank(width: float, height: float, **more: Any) -> Figure:
    """A white figure of ``width`` × ``height`` inches, drawn without a display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white", **more)
    FigureCanvasAgg(figure)
    return figure


def panels(
    width: float, height: float, *, down: int = 1, across: int = 1, **share: Any
) -> tuple[Figure, np.ndarray]:
    """A figure of ``width`` × ``height`` inches and its axes (down, across), in the plain style."""
    figure = _blank(width, height, layout="constrained")
    figure.get_layout_engine().set(w_pad=0.08)  # type: ignore[union-attr, call-arg]
    grid = figure.subplots(down, across, squeeze=False, **share)
    for axes in grid.flat:
        axes.tick_params(labelsize=8.5, length=2.5, colors=FAINT)
        axes.grid(color=RULE, lw=0.7)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(FAINT)
    return figure, grid


def panel_title(axes: Axes, text: str, room: float) -> None:
    """Write what a panel shows above it, in lines of at most ``room`` inches."""
    title = "\n".join(wrap(text, room, size=9.5))
    axes.set_title(title, fontsize=9.5, loc="left", color=INK)


def legend_below(figure: Figure, handles: Sequence[Any], columns: int) -> None:
    """Put a legend below all panels; the figure becomes as much higher."""
    legend = figure.legend(
        handles=handles, loc="outside lower left", ncols=columns, fontsize=8.5, frameon=False,
        labelcolor=INK, columnspacing=1.2, handletextpad=0.4, borderpad=0.2,
    )  # fmt: skip
    plain_text(figure)
    figure.draw_without_rendering()
    width, height = figure.get_size_inches()
    figure.set_size_inches(width, height + legend.get_window_extent().height / DPI)


def head(figure: Figure, title: str, notes: Iterable[str] = ()) -> None:
    """Put a title and lines of text above all panels; the figure becomes as much higher."""
    width, height = figure.get_size_inches()
    lines = [part for note in notes for part in wrap(note, width - 0.3, size=8.5)]
    taken = _place(figure, [_heading(title, lines, width - 0.3)], 0.12)[1]
    figure.set_size_inches(width, height + taken)
    engine = figure.get_layout_engine()
    assert engine is not None
    engine.set(rect=(0, 0, 1, height / (height + taken)))  # type: ignore[call-arg]


def thumbnail_sheet(
    title: str, notes: Sequence[str], sections: Iterable[tuple[str, Sequence[Sequence[Thumbnail]]]]
) -> Figure:
    """A figure of rows of thumbnails in sections with headings, as large as they need."""
    drawn: list[OffsetBox] = []
    room = 3.0
    for heading, rows in sections:
        room = max([room, *(sum(cell.room + 0.1 for cell in row) for row in rows)])
        lines = [_pack([_framed(cell) for cell in row], "across", 7.0) for row in rows]
        if heading:
            lines.insert(0, _text(heading, 11, bold=True))
        drawn.append(_pack(lines, "down", 9.0))
    notes = [part for note in notes for part in wrap(note, room, size=8.5)]
    figure = _blank(room, 1)
    size = _place(figure, [_heading(title, notes, room), *drawn], 0.35)
    figure.set_size_inches(*size)
    return figure


def _framed(cell: Thumbnail) -> OffsetBox:
    from matplotlib.offsetbox import DrawingArea, OffsetImage, PaddedBox

    frame = {"facecolor": cell.frame, "edgecolor": "none"}
    inner = 72 * SIDE - 2 * _FRAME
    images = []
    for picture in cell.pictures:
        image = OffsetImage(picture, zoom=inner / max(picture.shape[:2]), interpolation="nearest")
        images.append(PaddedBox(image, _FRAME, draw_frame=True, patch_attrs=frame))
    caption = [_text(text, color=color, bold=bold) for text, color, bold in cell.caption or ()]
    width = DrawingArea(72 * cell.room, 0)
    if not images:
        return width
    parts = [_pack(images, "across", 6.0), *([_pack(caption, "down", 1.0)] if caption else [])]
    return _pack([width, _pack(parts, "down", 4.0)], "down", 0.0)


def _heading(title: str, notes: Iterable[str], room: float) -> OffsetBox:
    lines = [_text(line, 13, bold=True) for line in wrap(title, 0.87 * room, size=13)]  # bold: wide
    lines += [_text(note, 8.5, FAINT) for note in notes]
    return _pack(lines, "down", 3.0)


def _text(text: str, size: float = _FONT, color: str = INK, bold: bool = False) -> OffsetBox:
    from matplotlib.offsetbox import TextArea

    weight = "bold" if bold else "normal"
    look = {"size": size, "color": color, "weight": weight, "parse_math": False}
    return TextArea(text, textprops=look)


def _pack(boxes: Sequence[OffsetBox], how: str, gap: float, pad: float = 0.0) -> OffsetBox:
    """Boxes below or beside one another, ``gap`` points apart, flush at the top left."""
    from matplotlib.offsetbox import HPacker, VPacker

    if how == "down":
        return VPacker(children=list(boxes), align="left", pad=pad, sep=gap)
    return HPacker(children=list(boxes), align="top", pad=pad, sep=gap)


def _place(figure: Figure, boxes: list[OffsetBox], margin: float) -> tuple[float, float]:
    """Put boxes into the upper left corner; the inches that they take with their margin."""
    from matplotlib.offsetbox import AnchoredOffsetbox

    packed = _pack(boxes, "down", 14.0, pad=72 * margin)
    figure.add_artist(AnchoredOffsetbox(
        "upper left", child=packed, pad=0, borderpad=0, frameon=False,
        bbox_to_anchor=(0, 1), bbox_transform=figure.transFigure,
    ))  # fmt: skip
    box = packed.get_bbox(figure.canvas.get_renderer())  # type: ignore[attr-defined]
    return box.width / DPI, box.height / DPI


@cache
def text_width(text: str, size: float = _FONT) -> float:
    """Width of a line of text in inches, as it is drawn."""
    from matplotlib.textpath import TextPath

    if not text.strip():
        return 0.0
    plain = text.replace("$", r"\$")  # two dollars would be a formula, see plain_text
    return float(TextPath((0, 0), plain, size=size).get_extents().x1) / 72


def wrap(text: str, room: float, *, size: float = _FONT, lines: int | None = None) -> list[str]:
    """``text`` broken at words into lines at most ``room`` inches wide.

    A word that is wider is broken where it must be. What does not go into ``lines`` is cut, and
    an ellipsis says so.
    """
    broken: list[str] = []
    for word in text.split():
        if broken and text_width(f"{broken[-1]} {word}", size) <= room:
            broken[-1] += f" {word}"
            continue
        while text_width(word, size) > room and len(word) > 1:
            cut = next(
                n
                for n in range(len(word) - 1, 0, -1)
                if n == 1 or text_width(word[:n], size) <= room
            )
            broken.append(word[:cut])
            word = word[cut:]
        broken.append(word)
    if lines is None or len(broken) <= lines:
        return broken
    last = broken[lines - 1]
    while last and text_width(f"{last}…", size) > room:
        last = last[:-1]
    return [*broken[: lines - 1], f"{last.rstrip(' ,;')}…"]


def label_lines(labels: Sequence[str], room: float, lines: int) -> list[str]:
    """Labels one after another, each in as many lines ``room`` inches wide as it needs, later
    ones of a label set in; labels beyond ``lines`` lines are counted on the last."""
    broken: list[str] = []
    for index, label in enumerate(labels):
        first, *others = wrap(label, room - text_width("n")) or [""]
        parts = [first, *(f"  {part}" for part in others)]
        left = len(labels) - index - 1
        if len(broken) + len(parts) + (left > 0) > lines and broken:
            return [*broken, f"and {left + 1} more"]
        broken += parts
    return broken[:lines]


def plain_text(figure: Figure) -> None:
    """Let dollars be letters in all texts of a figure: names are drawn, never formulas, and what is
    no formula between two dollars would end the picture with an error. Before it is drawn."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)


def save(figure: Figure, path: Path) -> Path:
    """Write the figure as PNG, or PDF where the name ends so, atomically; returns the path."""
    kind = "pdf" if path.suffix.lower() == ".pdf" else "png"
    stable = {"Software": None} if kind == "png" else {"CreationDate": None, "Producer": None}
    plain_text(figure)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format=kind, metadata=stable)
    return path
