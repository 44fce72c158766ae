"""Figures as SVG inside a page: its colours follow the page's, light and dark, and bytes repeat."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from crbench.draw import sheet

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

# what the house's pictures are drawn with → what it is called in site.css
_VARIABLES = {
    sheet.INK: "currentColor",
    "#000000": "currentColor",
    sheet.FAINT: "var(--faint)",
    sheet.RULE: "var(--rule)",
    **{color: f"var(--s{number + 1})" for number, color in enumerate(sheet.PALETTE)},
}
_SVG = "http://www.w3.org/2000/svg"


def inline(figure: Figure, name: str, label: str) -> Markup:
    """The figure as an ``<svg>`` element to stand in HTML, text as text.

    ``name`` (letters, digits, dashes) is unique on the page and keeps the ids of several figures
    apart; ``label`` says what is shown to those who do not see it.
    """
    import matplotlib
    from markupsafe import Markup

    file = io.BytesIO()
    sheet.plain_text(figure)
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(file, format="svg", transparent=True, metadata={"Date": None})
    root = ElementTree.fromstring(file.getvalue())
    for parent in root.iter():
        if parent.tag == f"{{{_SVG}}}g":
            parent.attrib.pop("id", None)  # figure_1, axes_1: the same in every figure
        for child in list(parent):
            if child.tag in (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style"):
                parent.remove(child)
    width = 100 * figure.get_size_inches()[0]  # its letters are then as large as the page's
    box = root.attrib["viewBox"]
    root.attrib = {
        "viewBox": box, "style": f"--width: {width:.0f}px", "role": "img", "aria-label": label,
        "fill": "currentColor", "stroke-linejoin": "round",
    }  # fmt: skip
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", "http://www.w3.org/1999/xlink")
    text = ElementTree.tostring(root, encoding="unicode")
    for color, variable in _VARIABLES.items():
        text = text.replace(color, variable)
    return Markup(text)
