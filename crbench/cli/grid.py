"""``crbench grid``: queries and what a run finds for them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crbench.cli.options import CacheFile, PictureOut, RecordFile, Run, check_picture, optional


def grid_command(
    run: Run,
    out: PictureOut = Path("grid.png"),
    queries: Annotated[
        list[str] | None,
        optional(
            metavar="N|ID",
            help="How many queries to draw at random, or an id; ids are repeatable. Default: 2.",
        ),
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=20, help="Items shown for each query.")] = 5,
    wrong_only: Annotated[
        bool, typer.Option("--wrong-only", help="Only queries with a wrong item among the top.")
    ] = False,
    record: RecordFile = None,
    cache: CacheFile = None,
) -> None:
    """Draw queries and what a run finds for them in all four directions, right and wrong framed."""
    from crbench.draw.grids import run_grid
    from crbench.records import read_record

    check_picture(out)
    count, ids = 2, None
    if queries is not None and len(queries) == 1 and queries[0].isdigit():
        count = max(1, int(queries[0]))
    elif queries:
        ids = queries
    drawn = run_grid(
        run,
        out,
        record=read_record(record) if record else None,
        cache=cache,
        n_queries=count,
        k=top,
        queries=ids,
        wrong_only=wrong_only,
    )
    print(drawn)
