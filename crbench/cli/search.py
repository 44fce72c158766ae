"""The command that searches in the archive of a run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from crbench.cli.options import AsJson, CacheFile, Device, Quiet, Run, Weights, picture
from crbench.cli.reports import RecordFile


def search(
    run: Run,
    query: Annotated[
        str,
        typer.Option(
            metavar="FILE|ID",
            help="Image (GeoTIFF, PNG, JPEG, .npy, .npz) in the run's bands, or id of a pair.",
            show_default=False,
        ),
    ],
    direction: Annotated[
        str | None,
        typer.Option(
            help="aa, bb, ab or ba, query first. Default: ab, or what the image fits.",
            show_default=False,
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Items to find.")] = 20,
    out: Annotated[
        Path | None,
        typer.Option(help="Also draw query and items there, .png or .pdf.", show_default=False),
    ] = None,
    record: RecordFile = None,
    cache: CacheFile = None,
    weights: Weights = "last",
    device: Device = "auto",
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Find the items of a run's archive nearest to an image of your own or to a pair of its set.

    Items and scores are those that evaluate ranks. The first search stores an index in the run's
    folder.
    """
    from crbench.archive.search import ask, open_search
    from crbench.draw.strip import as_data, print_answer, strip
    from crbench.records import read_record

    if out is not None:
        picture(out)
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
        strip(opened, answer, out)
    if as_json:
        print(json.dumps(as_data(opened, answer), indent=2, ensure_ascii=False))
        return
    print_answer(opened, answer)
    if out is not None:
        print(out)


def register(app: typer.Typer) -> None:
    """Add this file's command to ``app``."""
    app.command(
        epilog="Example: crbench search runs/ben-14k-twin/cr-jepa@tiny/seed0 --query field.tif "
        "--direction bb --out strip.png"
    )(search)
