"""``crbench list``: the cards that ship."""

from __future__ import annotations

import enum
from typing import Annotated

import typer

from crbench.cli.options import AsJson, print_json


class CardKind(enum.StrEnum):
    """What can be listed."""

    methods = "methods"
    datasets = "datasets"


def list_command(
    kind: Annotated[
        CardKind | None, typer.Argument(help="methods or datasets; both by default.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the method and dataset cards that ship with the project."""
    from crbench import cards

    listed: dict[str, list[dict[str, str]]] = {}
    if kind in (None, CardKind.methods):
        listed["methods"] = [
            {"name": card.name, "kind": card.kind, "summary": card.summary}
            for card in map(cards.load_method, cards.names("methods"))
        ]
    if kind in (None, CardKind.datasets):
        listed["datasets"] = [
            {
                "name": card.name,
                "kind": "synthetic" if card.synthetic else card.note or "real",
                "summary": card.summary,
            }
            for card in map(cards.load_dataset, cards.names("datasets"))
        ]
    if as_json:
        print_json(listed)
        return
    from rich.console import Console
    from rich.table import Table

    console = Console()
    for title, rows in listed.items():
        table = Table("name", "kind", "summary", title=title, title_justify="left")
        for row in rows:
            table.add_row(row["name"], row["kind"], row["summary"])
        console.print(table)
