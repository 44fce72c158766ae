"""Pages from templates: in HTML everything that comes from a record is escaped."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crbench import words as names
from crbench.board.markdown import markdown_table, markdown_text
from crbench.board.notes import dataset_title, setting
from crbench.board.published import COMPARABLE, PublishedTable
from crbench.board.tables import (
    PARAMS,
    Board,
    average,
    measured_table,
    percent,
    published_table,
    score_cell,
)
from crbench.words import DIRECTIONS, arrow

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

TEMPLATES = Path(__file__).with_name("templates")
_MORE = ("f1_item@5", "f1_query@5", "f1_dataset@5", "map", "p@5", "pair_r@1", "pair_r@5")
_WAYS = {  # the filter of directions: what each choice shows
    "aa bb ab ba": "all four",
    "aa bb": "within one sensor",
    "ab ba": "across sensors",
    "ab": "first → second sensor",
    "ba": "second → first sensor",
}
_ORIGINS = {
    "method": "measured: methods",
    "floor": "measured: floors and chance",
    "external": "measured: embeddings of others",
    "published": "published, not measured here",
}
_INLINE = ((r"`([^`]*)`", "code"), (r"\*\*([^*]+)\*\*", "strong"), (r"\*([^*]+)\*", "em"))


def _code(text: str) -> Markup:
    """Plain text as HTML; what stands between backticks becomes code."""
    return _note(text, _INLINE[:1])


def _note(text: str, marks: Sequence[tuple[str, str]] = _INLINE) -> Markup:
    """A paragraph of a note as HTML: code, strong and emphasis of Markdown, all else escaped."""
    from markupsafe import Markup, escape

    html = str(escape(text))
    for pattern, tag in marks:
        html = re.sub(pattern, rf"<{tag}>\1</{tag}>", html)
    return Markup(html)


def more_metrics(board: Board) -> list[str]:
    """What the records of a board hold beside its headline, as far as a page shows it."""
    known = {
        metric for row in board.rows if row.n for (_, metric), cell in row.cells.items() if cell
    }
    return [metric for metric in _MORE if metric in known and metric not in board.metrics]


def _families(boards: Iterable[Board], published: Iterable[PublishedTable]) -> list[str]:
    """Headings of all metrics that a page shows, for its filter, headlines first."""
    headings = [names.family(metric) for board in boards for metric in board.metrics]
    headings += [table.heading for table in published]
    headings += [names.family(metric) for board in boards for metric in more_metrics(board)]
    return list(dict.fromkeys(headings))


def _asset(name: str) -> Markup:
    """A style sheet or script of ours, to stand inside a page."""
    from markupsafe import Markup

    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))


@cache
def _environment() -> Environment:
    """Templates, those of HTML with escaping on; an unknown name is an error."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(("html",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"percent": percent, "code": _code, "note": _note, "md": markdown_text}
    made.globals |= {
        "DIRECTIONS": DIRECTIONS, "WAYS": _WAYS, "ORIGINS": _ORIGINS, "COMPARABLE": COMPARABLE,
        "PARAMS": PARAMS, "arrow": arrow, "asset": _asset, "average": average,
        "dataset_title": dataset_title, "definition": names.definition, "family": names.family,
        "markdown_table": markdown_table, "measured_table": measured_table,
        "more_metrics": more_metrics,
        "published_table": published_table, "score_cell": score_cell,
        "setting": setting, "title": names.title,
    }  # fmt: skip
    return made


def page(template: str, **values: Any) -> str:
    """A page of a template; ``up``, of HTML, leads from the page to the site's folder."""
    return _environment().get_template(template).render(values)


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
        families=_families(boards, published),
        datasets=list(dict.fromkeys([b.key[0] for b in boards] + [t.dataset for t in published])),
        links=links or {},
        charts=charts or {},
        alone=links is None,
        up="",
    )
