"""``crbench search`` and ``crbench serve``: the archive of a run, asked here or on a local page."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from crbench.cli import options as opt

if TYPE_CHECKING:
    from crbench.archive.archive import Answer, Search

_STYLES = {True: "green", False: "red", None: ""}


def search_command(
    run: opt.Run,
    query: str = typer.Option(
        metavar="FILE|ID",
        help="Image (GeoTIFF, PNG, JPEG, .npy, .npz) in the run's bands, or id of a pair.",
    ),
    direction: str | None = typer.Option(
        None, help="aa, bb, ab or ba, query first. Default: ab, or what the image fits."
    ),
    top: int = typer.Option(20, min=1, help="Items to find."),
    out: Path | None = typer.Option(None, help="Also draw query and items there, .png or .pdf."),
    record: opt.RecordFile = None,
    cache: opt.CacheFile = None,
    weights: opt.Weights = "last",
    device: opt.Device = "auto",
    as_json: opt.AsJson = False,
    quiet: opt.Quiet = False,
) -> None:
    """Find the items of a run's archive nearest to an image of your own or to a pair of its set.

    Items and scores are those that evaluate ranks. The first search stores an index in the run's
    folder.
    """
    from crbench.archive.search import ask, open_search
    from crbench.draw.strip import answer_strip
    from crbench.records import read_record

    opt.check_picture(out)
    opened = open_search(
        run,
        cache=cache,
        record=read_record(record) if record else None,
        weights=weights,
        device=device,
        quiet=quiet or as_json,
    )
    answer = ask(opened, query, direction, top)
    if out is not None:
        answer_strip(opened, answer, out)
    if as_json:
        opt.print_json(_as_data(opened, answer))
        return
    _print_answer(opened, answer)
    if out is not None:
        print(out)


def serve_command(
    run: opt.Run,
    port: int = typer.Option(
        8000, min=0, max=65535, help="Port on 127.0.0.1; 0 takes any that is free."
    ),
    record: opt.RecordFile = None,
    cache: opt.CacheFile = None,
    weights: opt.Weights = "last",
    device: opt.Device = "auto",
    browser: bool = typer.Option(False, "--open", help="Open the page in a browser."),
    quiet: opt.Quiet = False,
) -> None:
    """Show a run's search as a web page on this machine: pick or upload a query, see neighbours.

    The page listens on 127.0.0.1 alone, and what is uploaded stays in memory. Ctrl-C ends it.
    """
    from crbench.serve.start import address, answer_requests, check_installed, listen

    check_installed()
    from crbench.archive.search import open_search
    from crbench.records import read_record
    from crbench.serve.app import application, warm

    listening = listen(port)  # before the long work: a port that is taken is known at once
    with listening:
        search = open_search(
            run,
            cache=cache,
            record=read_record(record) if record else None,
            weights=weights,
            device=device,
            quiet=quiet,
        )
        warm(search)
        app = application(search)
        url = address(listening)
        print(url, flush=True)
        if not quiet:
            print("Ctrl-C ends it", file=sys.stderr)
        if browser:
            import webbrowser

            webbrowser.open(url)
        answer_requests(app, listening)
        print("\nended; nothing was kept", file=sys.stderr)


def _as_data(search: Search, answer: Answer) -> dict[str, Any]:
    """The answer as plain data for JSON; ``right`` is null where it is not known."""
    of_answer = ("direction", "query", "query_labels", "ranked", "embed_seconds", "seconds")
    of_hit = ("rank", "id", "score", "labels", "right")
    return {
        "run": str(search.queries.run.path),
        "title": search.title,
        "protocol": search.protocol_name,
        "of_record": search.record is not None,
        **{key: getattr(answer, key) for key in of_answer},
        "items": [
            {key: getattr(hit, key) for key in of_hit} | {"own_pair": hit.row == answer.query_row}
            for hit in answer.items
        ],
    }


def _print_answer(search: Search, answer: Answer) -> None:
    """Print query, items and what they mean."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from crbench.draw.strip import HIT_SIGNS, answer_notes
    from crbench.words import arrow

    console = Console(highlight=False)
    sensors = {m: search.cache.card.modality(m).name for m in ("a", "b")}
    console.print(Text(f"{search.title} · {arrow(answer.direction, sensors)}", style="bold"))
    labels = f": {', '.join(answer.query_labels)}" if answer.query_labels else ""
    console.print(Text(f"query {answer.query}{labels}"))
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("", justify="right")
    table.add_column("score", justify="right")
    table.add_column("")
    table.add_column("id", overflow="fold")
    if any(hit.labels for hit in answer.items):
        table.add_column("labels", overflow="fold")
    for hit in answer.items:
        name = Text(hit.id)
        if hit.row == answer.query_row:
            name.append(" · own pair", style="bold")
        sign = Text(HIT_SIGNS[hit.right], style=_STYLES[hit.right])
        cells = [Text(str(hit.rank)), Text(f"{hit.score:.4f}"), sign, name]
        table.add_row(*[*cells, Text(", ".join(hit.labels))][: len(table.columns)])
    console.print(table)
    for text in answer_notes(search, answer):
        console.print(Text(f"- {text}", style="dim"))
