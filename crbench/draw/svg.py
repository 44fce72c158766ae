"""Figures as SVG inside a page: its colours follow the page's, light and dark, and bytes repeat."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

from crbench.draw import curves, sheet

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

# what the house's pictures are drawn with → what it is called in site.css
COLORS = {
    sheet.INK: "currentColor",
    "#000000": "currentColor",
    sheet.FAINT: "var(--faint)",
    "#e6e8ec": "var(--rule)",
    sheet.RIGHT: "var(--right)",
    sheet.WRONG: "var(--wrong)",
    **{color: f"var(--s{number + 1})" for number, color in enumerate(curves.COLORS)},
}


def inline(figure: Figure, name: str, label: str) -> Markup:
    """The figure as an ``<svg>`` element to stand in HTML, text as text.

    ``name`` (letters, digits, dashes) is unique on the page and keeps the ids of several figures
    apart; ``label`` says what is shown to those who do not see it.
    """
    import matplotlib
    from markupsafe import Markup, escape

    out = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(out, format="svg", transparent=True, metadata=nothing)
    text = out.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<(metadata|style)\b.*?</\1>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\n?", "", text, flags=re.DOTALL)
    used = set(re.findall(r'(?:url\(#|href="#)([^")]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", text)
    text = re.sub(r"(url\(#|href=\"#)", rf"\g<1>{name}-", text)
    text = re.sub(r"#[0-9a-f]{6}\b", lambda m: COLORS.get(m[0], m[0]), text)
    box = re.search(r'viewBox="[^"]+"', text)
    assert box is not None
    width = 100 * figure.get_size_inches()[0]  # its letters are then as large as the page's
    head = f'<svg {box[0]} style="--width: {width:.0f}px" role="img" aria-label="{escape(label)}"'
    head += (
        ' fill="currentColor" stroke-linejoin="round" xmlns:xlink="http://www.w3.org/1999/xlink">'
    )
    return Markup(head + text[text.index(">") + 1 :].strip())
