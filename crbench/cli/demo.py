"""``crbench demo``: from nothing to a board."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crbench.cli.options import Epochs, Quiet, Seed, optional


def demo_command(
    out: Annotated[Path, typer.Option(help="Folder of the demo's runs, board and grids.")] = Path(
        "runs/demo"
    ),
    seed: Seed = 0,
    pairs: Annotated[
        int | None, optional(min=64, help="Image pairs instead of the demo's.")
    ] = None,
    epochs: Epochs = None,
    quiet: Quiet = False,
) -> None:
    """Train and compare three methods on a small synthetic twin: a board in a few minutes."""
    from crbench.site.demo import finish_demo
    from crbench.study.demo import run_demo

    finish_demo(run_demo(out, seed=seed, pairs=pairs, epochs=epochs, quiet=quiet))
