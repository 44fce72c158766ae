"""Pages of HTML from templates: everything that comes from a record is escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crbench import words as names
from crbench.board.board import Board, average
from crbench.board.notes import dataset_title, setting
from crbench.board.probes import TITLE, probe_table
from crbench.board.published import COMPARABLE, PublishedTable
from crbench.board.text import PARAMS, cell_lines, date, params, percent, signs
from crbench.words import DIRECTIONS, arrow

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

TEMPLATES = Path(__file__).with_name("templates")
MORE = ("f1_item@5", "f1_query@5", "f1_dataset@5", "map", "p@5", "pair_r@1", "pair_r@5")
ACROSS = {  # the filter of directions: what each choice shows
    "aa bb ab ba": "all four",
    "aa bb": "within one sensor",
    "ab ba": "across sensors",
    "ab": "first → second sensor",
    "ba": "second → first sensor",
}
SOURCES = {
    "method": "measured: methods",
    "floor": "measured: floors and chance",
    "external": "measured: embeddings of others",
    "published": "published, not measured here",
}


INLINE = ((r"`([^`]*)`", "code"), (r"\*\*([^*]+)\*\*", "strong"), (r"\*([^*]+)\*", "em"))


def code(text: str) -> Markup:
    """Plain text as HTML; what stands between backticks becomes code."""
    return prose(text, INLINE[:1])


def prose(text: str, marks: Sequence[tuple[str, str]] = INLINE) -> Markup:
    """A paragraph of a note as HTML: code, strong and emphasis of Markdown, all else escaped."""
    from markupsafe import Markup, escape

    found = str(escape(text))
    for pattern, tag in marks:
        found = re.sub(pattern, rf"<{tag}>\1</{tag}>", found)
    return Markup(found)


def more_metrics(board: Board) -> list[str]:
    """What the records of a board hold beside its headline, as far as a page shows it."""
    known = {
        metric for row in board.rows if row.n for (_, metric), cell in row.cells.items() if cell
    }
    return [metric for metric in MORE if metric in known and metric not in board.metrics]


def families(boards: Iterable[Board], published: Iterable[PublishedTable]) -> list[str]:
    """Headings of all metrics that a page shows, for its filter, headlines first."""
    found = [names.family(metric) for board in boards for metric in board.metrics]
    found += [table.heading for table in published]
    found += [names.family(metric) for board in boards for metric in more_metrics(board)]
    return list(dict.fromkeys(found))


def asset(name: str) -> Markup:
    """A style sheet or script of ours, to stand inside a page."""
    from markupsafe import Markup

    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))


@cache
def environment() -> Environment:
    """Templates with escaping on; a name that is not there is an error, never an empty place."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    found = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters |= {"percent": percent, "code": code, "prose": prose}
    found.globals |= {
        "DIRECTIONS": DIRECTIONS, "ACROSS": ACROSS, "SOURCES": SOURCES, "COMPARABLE": COMPARABLE,
        "PARAMS": PARAMS, "PROBES": TITLE, "arrow": arrow, "asset": asset, "average": average,
        "cell_lines": cell_lines, "dataset_title": dataset_title, "date": date,
        "definition": names.definition, "family": names.family, "more_metrics": more_metrics,
        "params": params, "probe_table": probe_table, "setting": setting, "signs": signs,
        "title": names.title,
    }  # fmt: skip
    return found


def page(template: str, **values: Any) -> str:
    """A page of a template. ``up`` leads from the page to the site's folder."""
    return environment().get_template(template).render(values)


def board_page(
    boards: Sequence[Board],
    published: Sequence[PublishedTable] = (),
    *,
    links: dict[tuple[tuple[str, str, str, str], str], str] | None = None,
    charts: dict[tuple[str, str, str, str], list[Any]] | None = None,
) -> str:
    """The board with its filters. Without ``links`` it is one file that needs nothing beside it.

    ``links``: by (board key, row label) where the row's own page lies; ``charts``: by board key.
    """
    return page(
        "board.html",
        boards=boards,
        published=published,
        families=families(boards, published),
        datasets=list(dict.fromkeys([b.key[0] for b in boards] + [t.dataset for t in published])),
        links=links or {},
        charts=charts or {},
        alone=links is None,
        up="",
    )
