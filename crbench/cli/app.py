"""The command tree, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import errno
import sys

import typer
from typer.core import TyperGroup

from crbench.cli import (
    boards,
    caches,
    doctor,
    embed,
    hub,
    reports,
    reproduce,
    runs,
    search,
    serve,
    studies,
)
from crbench.errors import UserError

DISK = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}

GO_ON = {
    "train": "run the same command again with --resume to go on from the last checkpoint",
    "cache": "run the same command again: a build goes on where it stopped",
    "ablate": "run the same command again: finished runs are kept, others go on",
    "demo": "run the same command again: it goes on where it stopped",
    "embed": "run the same command again: nothing half-written was kept",
    "evaluate": "run the same command again: nothing half-written was kept",
    "search": "run the same command again: nothing half-written was kept",
}


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
            if error.errno not in DISK:
                raise
            from crbench.files import disk_error

            _report(disk_error(error, error.filename or "."))
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            go_on = GO_ON.get(ctx.invoked_subcommand or "", "run the same command again")
            print(f"\ninterrupted: {go_on}", file=sys.stderr)
            raise typer.Exit(130) from None


def _report(error: UserError) -> None:
    lines = [f"error: {error.what}"]
    if error.where:
        lines.append(f"where: {error.where}")
    if error.fix:
        lines.append(f"fix: {error.fix}")
    print("\n".join(lines), file=sys.stderr)


app = typer.Typer(
    cls=Guarded,
    name="crbench",
    no_args_is_help=True,
    add_completion=False,
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


runs.register(app)
embed.register(app)
caches.register(app)
studies.register(app)
boards.register(app)
reports.register(app)
reproduce.register(app)
search.register(app)
serve.register(app)
hub.register(app)
doctor.register(app)


def main() -> None:
    """Entry point of the ``crbench`` command."""
    app(prog_name="crbench")
