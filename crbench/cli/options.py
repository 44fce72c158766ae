"""Options that several commands share, each with one spelling and one help text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crbench.errors import UserError

Run = Annotated[Path, typer.Argument(help="Run folder, as written by train.", show_default=False)]

Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")]
Weights = Annotated[
    str, typer.Option(metavar="last|best", help="The last weights, or those of --keep-best.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of initialisation, order and masks.")]
Epochs = Annotated[
    int | None, typer.Option(min=1, help="Epochs instead of the card's.", show_default=False)
]
CacheFile = Annotated[
    Path | None,
    typer.Option(help="Cache file instead of the default place.", show_default=False),
]


def picture(path: Path) -> None:
    """Refuse a picture file of a kind that is not written, before any work is done."""
    if path.suffix.lower() not in (".png", ".pdf"):
        raise UserError("pictures are written as .png or .pdf", where=path, fix="change the name")
