"""``crbench leaderboard``: the board from records."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crbench.cli.options import RECORDS, AsJson, Records, print_json


def leaderboard_command(
    records: Records = None,
    out: Annotated[
        Path, typer.Option(help="Folder for leaderboard.md, .csv, .tex and .html.")
    ] = Path("results"),
    write: Annotated[bool, typer.Option(help="Write the files, not only print.")] = True,
    as_json: AsJson = False,
) -> None:
    """Make the board from records: measured rows, and published numbers in tables of their own."""
    from crbench.board.board_data import board_json
    from crbench.board.leaderboard import write_boards
    from crbench.board.published import published_tables
    from crbench.board.rows import boards, read_records
    from crbench.board.terminal import print_boards

    tables = boards(read_records(records or [RECORDS]))
    published = published_tables()
    if write:
        written = write_boards(tables, published, out)
    if as_json:
        print_json(board_json(tables, published))
    else:
        print_boards(tables, published)
        if write:
            print("written: " + ", ".join(map(str, written)))
