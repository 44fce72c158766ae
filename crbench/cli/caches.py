"""Commands on caches: build, verify, info, preview."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from crbench.cli.options import AsJson, Quiet

group = typer.Typer(
    no_args_is_help=True,
    help="Build, check and look at dataset caches (one HDF5 file per dataset).",
    epilog="Example: crbench cache build ben-14k-twin",
)

CacheOrCard = Annotated[
    str, typer.Argument(metavar="CACHE", help="A cache file, or a card whose default cache it is.")
]
Scale = Annotated[
    str | None, typer.Option(help="Overlay of the dataset card.", show_default=False)
]


def find(cache: str, scale: str | None) -> Path:
    """The cache file meant by a path or by a card's name."""
    path = Path(cache)
    if path.is_file() or path.suffix in (".h5", ".hdf5", ".part"):
        return path
    from crbench.cards import load_dataset
    from crbench.data.cache import default_path

    return default_path(load_dataset(cache, scale=scale))


@group.command(epilog="Example: crbench cache build landsat7-pan-ms --source DIR")
def build(
    card: Annotated[str, typer.Argument(help="Dataset card: a name or a .toml file.")],
    source: Annotated[
        Path | None,
        typer.Option(help="Folder or archive of the raw data.", show_default=False),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Cache file instead of the default place.", show_default=False),
    ] = None,
    scale: Scale = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Set one card key; repeatable.", show_default=False
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a finished cache.")] = False,
    quiet: Quiet = False,
) -> None:
    """Read the raw data once into a verified cache; goes on where an earlier build stopped."""
    from crbench.cards import load_dataset
    from crbench.data.build import build_cache
    from crbench.data.cache import default_path

    resolved = load_dataset(card, scale=scale, overrides=tuple(overrides or ()))
    path = out or default_path(resolved)
    print(build_cache(resolved, path, source_dir=source, force=force, quiet=quiet))


@group.command(epilog="Example: crbench cache verify ben-14k-twin")
def verify(cache: CacheOrCard, scale: Scale = None, quiet: Quiet = False) -> None:
    """Read everything again and compare digests; damage is named by array and sample."""
    from crbench.data.build import verify_cache
    from crbench.errors import UserError

    path = find(cache, scale)
    problems = verify_cache(path, quiet=quiet)
    if problems:
        raise UserError(
            f"{len(problems)} problem(s): " + "; ".join(problems[:20]),
            where=path,
            fix="build the cache again with --force",
        )
    print(f"{path}: sound")


@group.command(epilog="Example: crbench cache info ben-14k-twin")
def info(cache: CacheOrCard, scale: Scale = None, as_json: AsJson = False) -> None:
    """What a cache holds: pairs, splits, bands, sizes, statistics, digest."""
    from crbench.report.cache_info import describe, print_description

    description = describe(find(cache, scale))
    if as_json:
        print(json.dumps(description, indent=2, ensure_ascii=False))
    else:
        print_description(description)


@group.command(epilog="Example: crbench cache preview ben-14k-twin --out pairs.png")
def preview(
    cache: CacheOrCard,
    out: Annotated[Path, typer.Option(help="PNG to write.")] = Path("preview.png"),
    pairs: Annotated[int, typer.Option(min=1, max=100, help="Pairs to show.")] = 12,
    scale: Scale = None,
) -> None:
    """Write a PNG of pairs: both sensors side by side with their labels."""
    from crbench.data.cache import open_cache
    from crbench.report.grids import pair_sheet

    print(pair_sheet(open_cache(find(cache, scale)), out, n=pairs))


def register(app: typer.Typer) -> None:
    """Add this file's commands to ``app``."""
    app.add_typer(group, name="cache")
