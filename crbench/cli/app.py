"""The command tree, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable

import typer
from typer.core import TyperGroup

from crbench.cli.ablate import ablate_command
from crbench.cli.caches import cache_app
from crbench.cli.embed import embed_command
from crbench.cli.evaluate import evaluate_command
from crbench.cli.hub import hub_app
from crbench.cli.pictures import grid_command, map_command
from crbench.cli.reproduce import reproduce_command
from crbench.cli.results import leaderboard_command, report_command
from crbench.cli.search import search_command, serve_command
from crbench.cli.start import demo_command, doctor_command, list_command
from crbench.cli.sweep import sweep_command
from crbench.cli.train import profile_command, train_command
from crbench.errors import UserError

_DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}

_GO_ON = {
    "train": "run the same command again with --resume to go on from the last checkpoint",
    "cache": "run the same command again: a build goes on where it stopped",
    "ablate": "run the same command again: finished runs are kept, others go on",
    "demo": "run the same command again: it goes on where it stopped",
}
_AGAIN = "run the same command again: nothing half-written was kept"


class Guarded(TyperGroup):
    """A command group that reports bad input and interruptions in a sentence, not a traceback."""

    def invoke(self, ctx: typer.Context) -> object:  # type: ignore[override]
        """Run the command; bad input exits with 2, a collapse with 3, an interruption with 130."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            _report(error)
            raise typer.Exit(error.exit_code) from None
        except OSError as error:
            if error.errno not in _DISK:
                raise
            from crbench.files import disk_error

            _report(disk_error(error, error.filename or "."))
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            go_on = _GO_ON.get(ctx.invoked_subcommand or "", _AGAIN)
            print(f"\ninterrupted: {go_on}", file=sys.stderr)
            raise typer.Exit(130) from None


def _report(error: UserError) -> None:
    print(f"error: {error}", file=sys.stderr)


app = typer.Typer(
    cls=Guarded,
    name="crbench",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="How well does a method retrieve across sensors, and can the number be trusted?",
    epilog="Start here: crbench demo",
)


def _version(show: bool) -> None:
    if show:
        from importlib.metadata import version

        print(f"crbench {version('crbench')}")
        raise typer.Exit


@app.callback()
def root(
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version and stop."
    ),
) -> None:
    """How well does a method retrieve across sensors, and can the number be trusted?

    One way through: cache, checkpoint, embeddings, record, table; each stage leaves a file.
    """


_RUN = "runs/ben-14k-twin/cr-jepa@tiny/seed0"
# every command with its example, in the order of the help; a group of commands has its own
_COMMANDS: dict[str, tuple[Callable[..., None], str] | typer.Typer] = {
    "demo": (demo_command, "crbench demo --out runs/demo"),
    "train": (
        train_command,
        "crbench train cr-jepa ben-14k-twin --scale tiny --set loss.uni=0.5",
    ),
    "evaluate": (
        evaluate_command,
        f"crbench evaluate {_RUN} --grid g.png; "
        "crbench evaluate mine.npz --dataset ben-14k-twin --name mine",
    ),
    "embed": (
        embed_command,
        f"crbench embed {_RUN} --images photos --modality b; crbench embed "
        "--encoder timm:resnet18 --weights resnet18.safetensors --dataset ben-14k-twin",
    ),
    "cache": cache_app,
    "ablate": (
        ablate_command,
        "crbench ablate table-s3 --dataset ben-14k-twin --scale tiny --max-jobs 2",
    ),
    "sweep": (
        sweep_command,
        "crbench sweep cr-jepa-losses --dataset ben-14k-twin-2 --scale tiny --set train.epochs=2",
    ),
    "profile": (profile_command, "crbench profile cr-jepa ben-14k --json"),
    "leaderboard": (
        leaderboard_command,
        "crbench leaderboard --records results/records --out results",
    ),
    "list": (list_command, "crbench list methods"),
    "report": (report_command, "crbench report --out site --runs runs"),
    "grid": (grid_command, f"crbench grid {_RUN} --wrong-only --queries 3"),
    "map": (map_command, f"crbench map {_RUN} --out map.png"),
    "reproduce": (
        reproduce_command,
        "crbench reproduce results/records/ben-14k-twin/cr-jepa/cr-jepa-tiny-seed0.json --run",
    ),
    "search": (
        search_command,
        f"crbench search {_RUN} --query field.tif --direction bb --out strip.png",
    ),
    "serve": (serve_command, f"crbench serve {_RUN} --open"),
    "hub": hub_app,
    "doctor": (doctor_command, "crbench doctor"),
}
for _name, _entry in _COMMANDS.items():
    if isinstance(_entry, typer.Typer):
        app.add_typer(_entry, name=_name)
    else:
        app.command(_name, epilog=f"Example: {_entry[1]}")(_entry[0])


def main() -> None:
    """Entry point of the ``crbench`` command."""
    app(prog_name="crbench")
