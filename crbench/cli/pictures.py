"""``crbench grid`` and ``crbench map``: pictures of what a run finds, and of its embeddings."""

from __future__ import annotations

from pathlib import Path

import typer

from crbench.cli import options as opt


def grid_command(
    run: opt.Run,
    out: opt.PictureOut = Path("grid.png"),
    queries: list[str] | None = typer.Option(
        None,
        metavar="N|ID",
        help="How many queries to draw at random, or an id; ids are repeatable. Default: 2.",
    ),
    top: int = typer.Option(5, min=1, max=20, help="Items shown for each query."),
    wrong_only: bool = typer.Option(
        False, "--wrong-only", help="Only queries with a wrong item among the top."
    ),
    record: opt.RecordFile = None,
    cache: opt.CacheFile = None,
) -> None:
    """Draw queries and what a run finds for them in all four directions, right and wrong framed."""
    from crbench.draw.grids import run_grid
    from crbench.records import read_record

    opt.check_picture(out)
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


def map_command(
    run: opt.Run,
    out: opt.PictureOut = Path("map.png"),
    direction: str = typer.Option(
        "ab", help="Which comparison across the sensors is shown: ab or ba."
    ),
    items: int = typer.Option(1000, min=10, help="Items shown of each sensor."),
    record: opt.RecordFile = None,
    cache: opt.CacheFile = None,
) -> None:
    """Draw the embeddings of both sensors in one plane by PCA and t-SNE, with the modality gap."""
    from crbench.draw.maps import run_map
    from crbench.records import read_record

    opt.check_picture(out)
    entry = read_record(record) if record else None
    print(run_map(run, out, record=entry, cache=cache, direction=direction, items=items))
