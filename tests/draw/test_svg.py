"""Figures in pages: colours follow the page, ids meet no others, bytes repeat."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from crbench.draw import sheet
from crbench.draw.svg import inline


def drawn(name: str = "one", label: str = "what it shows") -> str:
    figure, ((axes,),) = sheet.panels(3, 2)
    axes.plot([0, 1], [0, 1], color=sheet.PALETTE[2], marker="o")
    sheet.panel_title(axes, "S1→S2 & <b>", 2.0)
    return str(inline(figure, name, label))


def test_colours_are_those_of_the_page() -> None:
    text = drawn()
    assert "var(--s3)" in text and "currentColor" in text and "var(--rule)" in text
    assert not re.findall(r"#[0-9a-f]{6}\b", text)


def test_it_is_one_element_with_a_label_and_text_as_text() -> None:
    root = ElementTree.fromstring(drawn(label='"quoted" & <b>'))
    assert root.tag.endswith("}svg") and root.attrib["aria-label"] == '"quoted" & <b>'
    assert "S1→S2 & <b>" in "".join(root.itertext())
    assert not [e for e in root.iter() if e.tag.endswith(("}metadata", "}style"))]


def test_ids_repeat_with_the_name_and_differ_between_names() -> None:
    assert drawn() == drawn()
    one, two = (set(re.findall(r'\bid="([^"]*)"', drawn(name))) for name in ("one", "two"))
    assert one and not one & two
