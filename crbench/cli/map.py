"""``crbench map``: the embeddings of both sensors in one plane."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crbench.cli.options import CacheFile, PictureOut, RecordFile, Run, check_picture


def map_command(
    run: Run,
    out: PictureOut = Path("map.png"),
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

    check_picture(out)
    entry = read_record(record) if record else None
    print(run_map(run, out, record=entry, cache=cache, direction=direction, items=items))
