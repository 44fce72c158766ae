"""Boards and model cards as files, from templates: the same records give the same bytes.

In HTML everything that comes from a record is escaped by the environment, in Markdown and LaTeX by
filters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crbench import words
from crbench.board.board_data import board_csv
from crbench.board.markup import latex_label, latex_note, latex_text, markdown_table, markdown_text
from crbench.board.published import COMPARABLE, PublishedTable
from crbench.board.tables import (
    PARAMS,
    Board,
    BoardKey,
    average,
    measured_table,
    percent,
    score_cell,
)
from crbench.files import read_json, write_text
from crbench.records import read_record

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

TEMPLATES = Path(__file__).with_name("templates")
_TEX_MARKS: dict[str, Any] = {  # braces belong to LaTeX
    "block_start_string": "<%", "block_end_string": "%>",
    "variable_start_string": "<<", "variable_end_string": ">>",
    "comment_start_string": "<#", "comment_end_string": "#>",
}  # fmt: skip
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


def _note(text: str, marks: Sequence[tuple[str, str]]) -> Markup:
    """A paragraph of a note as HTML: ``marks`` of Markdown become elements, all else is escaped."""
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


@cache
def templates(kind: str = "") -> Environment:
    """Templates, those of HTML with escaping on; an unknown name is an error. Those of ``kind``
    "tex" have marks of their own."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape

    made = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(("html",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **(_TEX_MARKS if kind == "tex" else {}),
    )
    made.filters |= {
        "percent": percent, "md": markdown_text, "tex": latex_text, "tex_note": latex_note,
        "note": partial(_note, marks=_INLINE), "code": partial(_note, marks=_INLINE[:1]),
    }  # fmt: skip
    made.globals |= {
        "DIRECTIONS": words.DIRECTIONS, "WAYS": _WAYS, "ORIGINS": _ORIGINS,
        "COMPARABLE": COMPARABLE, "PARAMS": PARAMS, "arrow": words.arrow, "average": average,
        "definition": words.definition, "family": words.family, "latex_label": latex_label,
        "markdown_table": markdown_table, "measured_table": measured_table,
        "more_metrics": more_metrics, "score_cell": score_cell, "title": words.title,
    }  # fmt: skip
    return made


def page(template: str, **values: Any) -> str:
    """A page of a template; ``up``, of HTML, leads from the page to the site's folder."""
    return templates(template.rpartition(".")[2]).get_template(template).render(values)


def board_markdown(boards: Sequence[Board], published: Sequence[PublishedTable] = ()) -> str:
    """The whole board as Markdown; every definition stands under its table."""
    return page("leaderboard.md", boards=boards, published=published).rstrip("\n") + "\n"


def board_latex(boards: Sequence[Board], published: Sequence[PublishedTable] = ()) -> str:
    """All tables, each a float of its own with a label; notes stand under each board's first."""
    return page("leaderboard.tex", boards=boards, published=published)


def board_page(
    boards: Sequence[Board],
    published: Sequence[PublishedTable] = (),
    *,
    links: dict[tuple[BoardKey, str], str] | None = None,
    charts: dict[BoardKey, list[Any]] | None = None,
) -> str:
    """The board with its filters. Without ``links`` it is one file that needs nothing beside it.

    ``links``: by (board key, row label) where the row's own page lies; ``charts``: by board key.
    """
    return page(
        "board.html",
        boards=boards,
        published=published,
        families=_families(boards, published),
        datasets=dict.fromkeys([b.key.dataset for b in boards] + [t.dataset for t in published]),
        links=links or {},
        charts=charts or {},
        alone=links is None,
        up="",
    )


def _families(boards: Iterable[Board], published: Iterable[PublishedTable]) -> dict[str, None]:
    """Headings of all metrics that a page shows, for its filter, headlines first."""
    headings = [words.family(metric) for board in boards for metric in board.metrics]
    headings += [table.heading for table in published]
    headings += [words.family(metric) for board in boards for metric in more_metrics(board)]
    return dict.fromkeys(headings)


_WRITERS = {"md": board_markdown, "csv": board_csv, "tex": board_latex, "html": board_page}
BOARD_FILES = tuple(f"leaderboard.{kind}" for kind in _WRITERS)


def write_boards(
    boards: Sequence[Board], published: Sequence[PublishedTable], out: Path
) -> list[Path]:
    """Write ``leaderboard.md``, ``.csv``, ``.tex`` and ``.html`` into ``out``, each atomically."""
    texts = [write(boards, published) for write in _WRITERS.values()]  # all before the first file
    for name, text in zip(BOARD_FILES, texts, strict=True):
        write_text(out / name, text)
    return [out / name for name in BOARD_FILES]


def model_card(run: Path) -> str:
    """The README.md that goes with a pushed run: what it is, scores, data, protocol, use and
    licences, from its statement and its records alone; ``run`` is finished.

    The hub's header names no licence: that of the weights is for who pushes them to state.
    """
    info = read_json(run / "run.json")
    records = [read_record(path) for path in sorted(run.glob("record*.json"))]
    command = json.dumps(info["command"], ensure_ascii=False)[1:-1]  # a line break breaks no block
    return page("model_card.md", info=info, records=records, command=command)
