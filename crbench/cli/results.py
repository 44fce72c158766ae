"""``crbench leaderboard`` and ``crbench report``: all results as a board, and as a site."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from crbench.cli import options as opt


def leaderboard_command(
    records: opt.Records = None,
    out: Path = typer.Option(
        Path("results"), help="Folder for leaderboard.md, .csv, .tex and .html."
    ),
    write: bool = typer.Option(True, help="Write the files, not only print."),
    as_json: opt.AsJson = False,
) -> None:
    """Make the board from records: measured rows, and published numbers in tables of their own."""
    from crbench.board.board_data import board_json
    from crbench.board.published import published_tables
    from crbench.board.rows import boards, read_records
    from crbench.board.tables import print_boards
    from crbench.board.writers import write_boards

    tables = boards(read_records(records or [opt.RECORDS]))
    published = published_tables()
    if write:
        written = write_boards(tables, published, out)
    if as_json:
        opt.print_json(board_json(tables, published))
    else:
        print_boards(tables, [(table.dataset, table.as_table()) for table in published])
        if write:
            opt.print_written(written)


def report_command(
    out: Path = typer.Option(help="Folder of the site; an earlier report is replaced."),
    records: opt.Records = None,
    runs: list[Path] | None = typer.Option(
        None, help="Run folder, or folder of them, for curves, grids and maps; repeatable."
    ),
    ablations: Path = typer.Option(opt.ABLATIONS, help="Folder of the tables that ablate wrote."),
    as_json: opt.AsJson = False,
    quiet: opt.Quiet = False,
) -> None:
    """Write a site of all results that opens from disk: board, records, charts, grids, maps."""
    from crbench.board.rows import read_records
    from crbench.site.site import write_site
    from crbench.study.written import written_studies

    folders = list(records or [])
    if not folders and (opt.RECORDS.is_dir() or not runs):
        folders = [opt.RECORDS]
    folders += [folder for folder in runs or [] if any(folder.rglob("record*.json"))]
    site = write_site(
        read_records(folders),
        out,
        runs=runs or [],
        studies=written_studies(ablations, opt.RECORDS),
        quiet=quiet or as_json,
    )
    if as_json:
        opt.print_json(vars(site) | {"path": str(site.path)})
        return
    for reason in site.left_out:
        print(f"left out: {reason}", file=sys.stderr)
    print(out / "index.html")
