"""Commands that share runs: hub push and pull."""

from __future__ import annotations

from pathlib import Path

import typer

from crbench.cli import options as opt

hub_app = typer.Typer(
    no_args_is_help=True,
    help="Share a finished run: a folder of plain files, here or on the Hugging Face Hub.",
    epilog="Example: crbench hub push runs/ben-14k/cr-jepa/seed0 hf://owner/name",
)
_PLACES = "A folder, e.g. ./name, or hf://owner/name."


@hub_app.command(
    "push", epilog="Example: crbench hub push runs/ben-14k/cr-jepa/seed0 hf://owner/name"
)
def push_command(
    run: opt.Run,
    dest: str = typer.Argument(help=_PLACES),
    public: bool = typer.Option(
        False, "--public", help="Make a new repository public, not private."
    ),
) -> None:
    """Share weights, cards, log, records and a model card; the folder must be new."""
    from crbench.board.writers import model_card
    from crbench.run.folder import RunFolder
    from crbench.run.hub import push_run

    RunFolder(run).finished()
    print(push_run(run, dest, model_card(run), public=public))


@hub_app.command("pull", epilog="Example: crbench hub pull hf://owner/name runs/pulled")
def pull_command(
    source: str = typer.Argument(help=_PLACES),
    run: Path = typer.Argument(help="Run folder to make."),
) -> None:
    """Fetch a shared run, check every digest, and leave a run folder like a trained one."""
    from crbench.run.hub import pull_run

    print(pull_run(source, run))
    print(f"next: crbench evaluate {run}")
