"""A static site of everything that records say: it opens from disk, without server or network."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crbench import words as names
from crbench.board.published import published_tables
from crbench.board.rows import boards
from crbench.board.tables import Board, Row
from crbench.board.writers import TEMPLATES, board_page, page
from crbench.errors import UserError
from crbench.files import sha256_file, sha256_json, write_json, write_text
from crbench.progress import watched
from crbench.records import Record
from crbench.site.row_page import row_page
from crbench.study.table import StudyTable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKER = ".crbench-report"  # a folder that holds it was written here and may be replaced
_ASSETS = ("site.css", "site.js")


@dataclass
class Site:
    """What was written, and what could not be shown and why."""

    path: Path
    pages: int = 0
    pictures: int = 0
    left_out: list[str] = field(default_factory=list)


def write_site(
    records: Sequence[Record],
    out: Path,
    *,
    runs: Iterable[Path] = (),
    studies: Sequence[tuple[StudyTable, str]] = (),
    quiet: bool = True,
) -> Site:
    """Write the site of ``records`` into the folder ``out``, all of it or nothing.

    ``runs`` are run folders, or folders of them: a run whose weights a record names adds its
    training curves, a retrieval grid and a map. ``studies`` are ablation tables with their notes.
    A folder that holds anything else than an earlier report is refused.
    """
    tables = boards(records)
    published = published_tables()
    by_weights = _by_weights(runs)
    with _replaced(out) as folder:
        site = Site(out)
        links = {(b.key, row.label): f"rows/{slug(b, row)}.html" for b, row in _rows(tables)}
        for board, row in watched(list(_rows(tables)), "pages", quiet=quiet):
            _row(folder, site, board, row, by_weights)
        charts = {board.key: _charts(board) for board in tables}
        text = board_page(tables, published, links=links, charts=charts)
        write_text(folder / "index.html", text)
        write_text(folder / "studies.html", _studies(studies))
        for name in _ASSETS:
            write_text(folder / "assets" / name, (TEMPLATES / name).read_text(encoding="utf-8"))
        write_text(folder / MARKER, "Made by crbench report, and replaced as a whole by it.\n")
        site.pages += 2
    return site


def slug(board: Board, row: Row) -> str:
    """The name of a row's page: safe as a file name, whatever stands in the record."""
    record = row.records[0]
    words = f"{board.key.dataset}-{row.name}-{record.method.scale}".lower()
    plain = re.sub(r"[^a-z0-9]+", "-", words).strip("-")[:60]
    return f"{plain}-{sha256_json([*board.key, row.label])[:8]}"


def _rows(tables: Iterable[Board]) -> Iterable[tuple[Board, Row]]:
    return ((board, row) for board in tables for row in board.rows if row.n)


def _row(folder: Path, site: Site, board: Board, row: Row, by_weights: dict[str, Path]) -> None:
    name = slug(board, row)
    files = []
    for record in row.records:
        seed = record.training.seed if record.training is not None else 0
        files.append(f"{name}-seed{seed}.json")
        data = record.model_dump(mode="json", by_alias=True)
        write_json(folder / "records" / files[-1], data)
    runs = [
        (record, by_weights[weights])
        for record in row.records
        if (weights := record.digests.get("weights", "")) in by_weights
    ]
    pictures = []
    if runs:
        pictures = _pictures(folder, site, name, *runs[0])
    charts = _row_charts(board, row, [run for _, run in runs], name)
    text = row_page(board, row, files=files, pictures=pictures, charts=charts)
    write_text(folder / "rows" / f"{name}.html", text)
    site.pages += 1


def _pictures(
    folder: Path, site: Site, name: str, record: Record, run: Path
) -> list[tuple[str, str, str]]:
    """Grid and map of a run as (heading, file, what it shows); what fails is said, not hidden."""
    from crbench.draw.grids import run_grid
    from crbench.draw.maps import run_map

    wanted = (
        ("grid", "Retrievals", "Queries drawn at random and their top five in all four directions",
         lambda path: run_grid(run, path, record=record)),
        ("wrong", "Wrong answers", "Queries with a wrong item among the top five",
         lambda path: run_grid(run, path, record=record, wrong_only=True, n_queries=1)),
        ("map", "Where the embeddings lie", "Both sensors in one plane, by PCA and t-SNE",
         lambda path: run_map(run, path, record=record, items=500)),
    )  # fmt: skip
    done = []
    for kind, heading, text, draw in wanted:
        file = f"pictures/{name}-{kind}.png"
        try:
            draw(folder / file)
        except UserError as error:
            site.left_out.append(f"{kind} of {record.run}: {error.what} ({error.where})")
            continue
        done.append((heading, file, f"{text}: {record.run}."))
        site.pictures += 1
    return done


def _chart(
    figure: Figure, name: str, caption: str, *, size: str = "wide", label: str = ""
) -> dict[str, Any]:
    """A figure of a page; ``size`` is "wide" where it takes the whole width, else empty; ``label``
    is what it shows where the caption does not say it."""
    from crbench.draw.svg import inline

    return {"svg": inline(figure, name, label or caption), "caption": caption, "size": size}


def _charts(board: Board) -> list[dict[str, Any]]:
    from crbench.draw import charts

    if len(list(_rows([board]))) < 2:
        return []
    shown = []
    same = "Marks as above."
    for metric in board.metrics:
        title = names.title(metric)
        name = f"c-{sha256_json(list(board.key))[:8]}-{re.sub('[^a-z0-9]', '-', metric)}"
        drawn = (
            ("d", charts.by_direction(board, metric), "wide",
             f"{title} by direction, %: mean and 95 % interval; chance dashed, a ceiling dotted."),
            ("a", charts.asymmetry(board, metric), "",
             f"{title}, one way across the sensors against the other, ± sd over seeds. {same}"),
            *((of, charts.cost(board, metric, of), "",
               f"{title} against {charts.COSTS[of][0]}; floors left out. {same}")
              for of in charts.COSTS),
        )  # fmt: skip
        shown += [
            _chart(figure, f"{name}-{kind}", caption, size=size)
            for kind, figure, size, caption in drawn
            if figure is not None
        ]
    return shown


def _row_charts(board: Board, row: Row, runs: Sequence[Path], name: str) -> list[dict[str, Any]]:
    from crbench.draw.charts import k_curves
    from crbench.draw.curves import training_figure

    shown = []
    if (curve := k_curves(row, board)) is not None:
        text = "Scores over k, mean over the row's runs; bands are 95 % intervals."
        shown.append(_chart(curve, f"{name}-k", text))
    if logged := [run for run in runs if (run / "metrics.jsonl").is_file()]:
        text = "Training curves: the loss, and its unweighted terms, mean of each epoch."
        shown.append(_chart(training_figure(logged, titled=False), f"{name}-t", text))
    return shown


def _studies(studies: Sequence[tuple[StudyTable, str]]) -> str:
    from crbench.draw.study import study_figure
    from crbench.study.pages import page_table, study_title

    shown = []
    for table, note in studies:
        name = re.sub(r"[^a-z0-9]+", "-", f"{table.dataset}-{table.study.name}".lower())
        text = f"Percentage points to “{table.study.reference}”: measured, and published."
        title, chart = study_title(table), None
        if table.record:
            figure = study_figure(table, titled=False)
            chart = _chart(figure, name, text, label=f"{title}. {text}")
        shown.append({
            "title": title,
            "question": table.study.question,
            "tables": [page_table(table, metric) for metric in table.metrics],
            "note": note,
            "chart": chart,
        })  # fmt: skip
    return page("studies.html", studies=shown, alone=False, up="")


def _by_weights(folders: Iterable[Path]) -> dict[str, Path]:
    """Run folders at or under ``folders``, by the digest of their weights."""
    runs: dict[str, Path] = {}
    for folder in folders:
        if not folder.is_dir():
            raise UserError("no such run folder", where=folder, fix="name folders of runs")
        for info in sorted(folder.rglob("run.json")):
            weights = info.parent / "weights.safetensors"
            if weights.is_file():
                runs.setdefault(sha256_file(weights), info.parent)
    return runs


@contextmanager
def _replaced(out: Path):  # type: ignore[no-untyped-def]
    """Yield an empty folder that takes the place of ``out`` if nothing fails."""
    if out.exists() and not out.is_dir():
        raise UserError("this is a file, not a folder", where=out, fix="name a folder by --out")
    if out.is_dir() and any(out.iterdir()) and not (out / MARKER).is_file():
        raise UserError(
            "this folder holds other files than a report",
            where=out,
            fix="name a new folder by --out, or empty this one",
        )
    out = out.absolute()
    new, old = (out.with_name(f".{out.name}.{os.getpid()}.{kind}") for kind in ("new", "old"))
    try:
        new.mkdir(parents=True)
        yield new
        if out.exists():
            out.rename(old)
        new.rename(out)
    finally:
        for folder in (new, old):
            with suppress(OSError):
                shutil.rmtree(folder)
