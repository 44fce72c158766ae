"""Text on sheets: broken at words, counted where it does not fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.image import imread

from crbench.draw import sheet
from crbench.draw.svg import inline

LONG = "Land principally occupied by agriculture, with significant areas of natural vegetation"


def test_a_long_label_is_broken_and_not_cut() -> None:
    lines = sheet.label_lines([LONG, "Pastures"], sheet.CAPTION, sheet.CAPTION_LINES)
    assert " ".join(line.strip() for line in lines) == f"{LONG} Pastures"
    assert len(lines) > 3 and all(line.startswith("  ") for line in lines[1:-1])
    assert all(sheet.text_width(line) <= sheet.CAPTION for line in lines)
    assert sheet.label_lines(["a", "b", "c", "d"], sheet.CAPTION, 3) == ["a", "b", "and 2 more"]
    assert sheet.label_lines(["a", "b", "c"], sheet.CAPTION, 3) == ["a", "b", "c"]


def test_text_is_broken_where_it_must_be() -> None:
    word = "S2A_MSIL2A_20170613T101031_87_48_and_more_of_the_same_name"
    lines = sheet.wrap(word, 1.5)
    assert "".join(lines) == word and len(lines) > 1
    assert all(sheet.text_width(line) <= 1.5 for line in lines)
    (cut,) = sheet.wrap(LONG, 1.5, lines=1)
    assert cut.endswith("…") and sheet.text_width(cut) <= 1.5
    assert sheet.wrap("short", 1.5) == ["short"] and sheet.wrap("", 1.5) == []


def test_dollars_are_letters() -> None:
    assert sheet.text_width("$_$") > 2 * sheet.text_width("$")
    assert sheet.text_width("$x_1$ to $y$") > sheet.text_width("x_1 to y")
    assert sheet.wrap("$_$.npy \\$", 1.5) == ["$_$.npy \\$"]


@pytest.mark.parametrize("writes", ["png", "svg"])
@pytest.mark.parametrize("place", ["tick", "axis", "panel", "legend", "head"])
def test_names_with_dollars_are_drawn_as_they_are(tmp_path: Path, place: str, writes: str) -> None:
    name = "a$_$b"  # as a formula it has nothing to set lower
    figure, ((axes,),) = sheet.panels(4, 2)
    line = axes.plot([0, 1], [0, 1], label=name)
    draw: dict[str, Callable[[], object]] = {
        "tick": lambda: axes.set_yticks([0, 1], [name, "other"]),
        "axis": lambda: axes.set_xlabel(name),
        "panel": lambda: sheet.panel_title(axes, name, 3.0),
        "legend": lambda: sheet.legend_below(figure, line, 1),
        "head": lambda: sheet.head(figure, name, [name]),
    }
    draw[place]()
    if writes == "svg":
        assert name in str(inline(figure, "one", "what it shows"))
    else:
        assert imread(sheet.save(figure, tmp_path / "x.png")).shape[1] == 4 * sheet.DPI
