"""Commands that show: report, grid, map."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from crbench.cli.options import AsJson, CacheFile, Quiet, Run, picture

RECORDS = Path("results/records")

RecordFile = Annotated[
    Path | None,
    typer.Option("--record", help="Record file, where it is not RUN/record.json."),
]


def grid(
    run: Run,
    out: Annotated[Path, typer.Option(help="Picture to write, .png or .pdf.")] = Path("grid.png"),
    queries: Annotated[
        list[str] | None,
        typer.Option(
            metavar="N|ID",
            help="How many queries to draw at random, or an id; ids are repeatable. Default: 2.",
            show_default=False,
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

    picture(out)
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


def draw_map(
    run: Run,
    out: Annotated[Path, typer.Option(help="Picture to write, .png or .pdf.")] = Path("map.png"),
    direction: Annotated[
        str, typer.Option(help="Which comparison across the sensors is shown: ab or ba.")
    ] = "ab",
    items: Annotated[int, typer.Option(min=10, help="Items shown of each sensor.")] = 1000,
    record: RecordFile = None,
    cache: CacheFile = None,
) -> None:
    """Draw the embeddings of both sensors in one plane by PCA and t-SNE, with the modality gap."""
    from crbench.draw.maps import run_map
    from crbench.records import read_record

    picture(out)
    entry = read_record(record) if record else None
    print(run_map(run, out, record=entry, cache=cache, direction=direction, items=items))


def report(
    out: Annotated[Path, typer.Option(help="Folder of the site; an earlier report is replaced.")],
    records: Annotated[
        list[Path] | None,
        typer.Option(
            help="Record file or folder of records; repeatable. Default: results/records.",
            show_default=False,
        ),
    ] = None,
    runs: Annotated[
        list[Path] | None,
        typer.Option(
            help="Run folder, or folder of them, for curves, grids and maps; repeatable.",
            show_default=False,
        ),
    ] = None,
    ablations: Annotated[Path, typer.Option(help="Folder of the tables that ablate wrote.")] = Path(
        "results/ablations"
    ),
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write a site of all results that opens from disk: board, records, charts, grids, maps."""
    from crbench.board.rows import read_records
    from crbench.site.site import write_site
    from crbench.study.written import written_studies

    given = list(records or [])
    if not given and (RECORDS.is_dir() or not runs):
        given = [RECORDS]
    given += [folder for folder in runs or [] if any(folder.rglob("record*.json"))]
    site = write_site(
        read_records(given),
        out,
        runs=runs or [],
        studies=written_studies(ablations, RECORDS),
        quiet=quiet or as_json,
    )
    if as_json:
        print(json.dumps(vars(site) | {"path": str(site.path)}, indent=2, ensure_ascii=False))
        return
    for reason in site.left_out:
        print(f"left out: {reason}", file=sys.stderr)
    print(out / "index.html")


def register(app: typer.Typer) -> None:
    """Add this file's commands to ``app``."""
    app.command(epilog="Example: crbench report --out site --runs runs")(report)
    app.command(
        epilog="Example: crbench grid runs/ben-14k-twin/cr-jepa@tiny/seed0 --wrong-only --queries 3"
    )(grid)
    app.command(
        "map", epilog="Example: crbench map runs/ben-14k-twin/cr-jepa@tiny/seed0 --out map.png"
    )(draw_map)
