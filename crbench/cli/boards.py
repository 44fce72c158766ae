"""Commands that read: leaderboard and list."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Annotated

import typer

from crbench.cli.options import AsJson

RECORDS = Path("results/records")


class Kind(enum.StrEnum):
    """What can be listed."""

    methods = "methods"
    datasets = "datasets"


def leaderboard(
    records: Annotated[
        list[Path] | None,
        typer.Option(
            help=f"Record file or folder of records; repeatable. Default: {RECORDS}.",
            show_default=False,
        ),
    ] = None,
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

    found = boards(read_records(records or [RECORDS]))
    published = published_tables()
    if write:
        written = write_boards(found, published, out)
    if as_json:
        print(json.dumps(board_json(found, published), indent=2, ensure_ascii=False))
    else:
        print_boards(found, published)
        if write:
            print("written: " + ", ".join(map(str, written)))


def list_cards(
    kind: Annotated[
        Kind | None, typer.Argument(help="methods or datasets; both by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the method and dataset cards that ship with the project."""
    from crbench import cards

    listed: dict[str, list[dict[str, str]]] = {}
    if kind in (None, Kind.methods):
        listed["methods"] = [
            {"name": card.name, "kind": card.kind, "summary": card.summary}
            for card in map(cards.load_method, cards.names("methods"))
        ]
    if kind in (None, Kind.datasets):
        listed["datasets"] = [
            {
                "name": card.name,
                "kind": "synthetic" if card.synthetic else card.note or "real",
                "summary": card.summary,
            }
            for card in map(cards.load_dataset, cards.names("datasets"))
        ]
    if as_json:
        print(json.dumps(listed, indent=2, ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for title, rows in listed.items():
        table = Table("name", "kind", "summary", title=title, title_justify="left")
        for row in rows:
            table.add_row(row["name"], row["kind"], row["summary"])
        console.print(table)


def register(app: typer.Typer) -> None:
    """Add this file's commands to ``app``."""
    app.command(epilog="Example: crbench leaderboard --records results/records --out results")(
        leaderboard
    )
    app.command("list", epilog="Example: crbench list methods")(list_cards)
