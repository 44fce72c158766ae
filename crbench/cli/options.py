"""Options that several commands share, each with one spelling and one help text."""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from crbench.errors import UserError

RECORDS = Path("results/records")
ABLATIONS = Path("results/ablations")

Run = Annotated[Path, typer.Argument(help="Run folder, as written by train.", show_default=False)]
MethodName = Annotated[str, typer.Argument(help="Method card: a name or a .toml file.")]
DatasetName = Annotated[str, typer.Argument(help="Dataset card: a name or a .toml file.")]
Scale = Annotated[str | None, typer.Option(help="Overlay of the method card, e.g. tiny.")]
DatasetScale = Annotated[str | None, typer.Option(help="Overlay of the dataset card.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Set one card key; repeatable."),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, only the result.")]
Weights = Annotated[
    str, typer.Option(metavar="last|best", help="The last weights, or those of --keep-best.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of initialisation, order and masks.")]
Epochs = Annotated[int | None, typer.Option(min=1, help="Epochs instead of the card's.")]
CacheFile = Annotated[Path | None, typer.Option(help="Cache file instead of the default place.")]
RecordFile = Annotated[
    Path | None, typer.Option("--record", help="Record file, where it is not RUN/record.json.")
]
Records = Annotated[
    list[Path] | None,
    typer.Option(help=f"Record file or folder of records; repeatable. Default: {RECORDS}."),
]
Launcher = enum.StrEnum("Launcher", ["local", "slurm"])
Launched = Annotated[Launcher, typer.Option("--launcher", help="Where the runs are made.")]
MaxJobs = Annotated[int, typer.Option(min=1, help="Runs at the same time.")]
RunThreads = Annotated[
    int | None, typer.Option("--threads", min=1, help="CPU threads of each run; cores / jobs.")
]
Slurm = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KEY=VALUE", help="submitit parameter, e.g. slurm_partition=gpu; repeatable."
    ),
]
PictureOut = Annotated[Path, typer.Option(help="Picture to write, .png or .pdf.")]


def check_picture(path: Path | None) -> None:
    """Refuse a picture file of a kind that is not written, before any work is done."""
    if path is not None and path.suffix.lower() not in (".png", ".pdf"):
        raise UserError("pictures are written as .png or .pdf", where=path, fix="change the name")


def refuse_options(values: dict[str, Any], reason: str, *, fix: str | None = None) -> None:
    """Refuse the first of the options that has a value: ``{option} {reason}``."""
    for option, value in values.items():
        if value is not None and value is not False:  # 0 is a value
            raise UserError(f"{option} {reason}", fix=fix or f"leave {option} out")


def print_written(paths: Iterable[Path]) -> None:
    """Say which files were written."""
    print("written: " + ", ".join(map(str, paths)))


def print_json(data: Any) -> None:
    """Print plain data as strict JSON, in the order that it has."""
    print(json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False))


def slurm_options(items: list[str] | None) -> dict[str, str]:
    """The parameters of ``--slurm key=value``."""
    try:
        return dict(item.split("=", 1) for item in items or ())
    except ValueError:
        what = f"not all of these are parameters: {', '.join(items or ())}"
        raise UserError(what, where="--slurm", fix="write key=value") from None
