"""``crbench report``: a site of all results."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from crbench.cli.options import ABLATIONS, RECORDS, AsJson, Quiet, Records, optional, print_json


def report_command(
    out: Annotated[Path, typer.Option(help="Folder of the site; an earlier report is replaced.")],
    records: Records = None,
    runs: Annotated[
        list[Path] | None,
        optional(help="Run folder, or folder of them, for curves, grids and maps; repeatable."),
    ] = None,
    ablations: Annotated[
        Path, typer.Option(help="Folder of the tables that ablate wrote.")
    ] = ABLATIONS,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Write a site of all results that opens from disk: board, records, charts, grids, maps."""
    from crbench.board.rows import read_records
    from crbench.site.site import write_site
    from crbench.study.written import written_studies

    folders = list(records or [])
    if not folders and (RECORDS.is_dir() or not runs):
        folders = [RECORDS]
    folders += [folder for folder in runs or [] if any(folder.rglob("record*.json"))]
    site = write_site(
        read_records(folders),
        out,
        runs=runs or [],
        studies=written_studies(ablations, RECORDS),
        quiet=quiet or as_json,
    )
    if as_json:
        print_json(vars(site) | {"path": str(site.path)})
        return
    for reason in site.left_out:
        print(f"left out: {reason}", file=sys.stderr)
    print(out / "index.html")
