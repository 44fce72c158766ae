"""Commands on caches: build, verify, info, preview."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crbench.cli import options as opt

cache_app = typer.Typer(
    no_args_is_help=True,
    help="Build, check and look at dataset caches (one HDF5 file per dataset).",
    epilog="Example: crbench cache build ben-14k-twin",
)

CacheOrCard = Annotated[
    str, typer.Argument(metavar="CACHE", help="A cache file, or a card whose default cache it is.")
]


def _cache_path(cache: str, scale: str | None) -> Path:
    """The cache file meant by a path or by a card's name."""
    path = Path(cache)
    if path.suffix != ".toml" and (path.is_file() or path.suffix in (".h5", ".hdf5", ".part")):
        return path
    from crbench.cards import load_dataset
    from crbench.data.cache.reading import default_path

    return default_path(load_dataset(cache, scale=scale))


@cache_app.command("build", epilog="Example: crbench cache build landsat7-pan-ms --source DIR")
def build_command(
    card: str = typer.Argument(help="Dataset card: a name or a .toml file."),
    source: Path | None = typer.Option(None, help="Folder or archive of the raw data."),
    form: str | None = typer.Option(
        None,
        "--from",
        metavar="folders|hdf5|torchgeo",
        help="How your own pairs lie, where the card does not say it.",
    ),
    out: Path | None = typer.Option(None, help="Cache file instead of the default place."),
    scale: opt.DatasetScale = None,
    overrides: opt.Overrides = None,
    members: str | None = typer.Option(
        None,
        metavar="FILE|all",
        help="BigEarthNet: other patches than BEN-14K's, a list of names or all facts.",
    ),
    allow_missing: bool = typer.Option(
        False, "--allow-missing", help="Go on without pairs that lack a file."
    ),
    force: bool = typer.Option(False, "--force", help="Replace a finished cache."),
    quiet: opt.Quiet = False,
) -> None:
    """Read the raw data once into a verified cache; goes on where an earlier build stopped."""
    from crbench.cards import load_dataset
    from crbench.data.cache.build import build_cache
    from crbench.data.cache.reading import default_path
    from crbench.data.sources import with_kind
    from crbench.data.sources.bigearthnet.members import with_members

    resolved = load_dataset(card, scale=scale, overrides=tuple(overrides or ()))
    resolved = with_members(with_kind(resolved, form), members, allow_missing)
    path = out or default_path(resolved)
    print(build_cache(resolved, path, source_dir=source, force=force, quiet=quiet))


@cache_app.command("verify", epilog="Example: crbench cache verify ben-14k-twin")
def verify_command(
    cache: CacheOrCard, scale: opt.DatasetScale = None, quiet: opt.Quiet = False
) -> None:
    """Read everything again: damage by array and sample; duplicates, neighbours, odd patches."""
    from crbench.data.cache.verify import verify_cache
    from crbench.errors import UserError

    path = _cache_path(cache, scale)
    problems, findings = verify_cache(path, quiet=quiet)
    if problems:
        raise UserError(
            f"{len(problems)} problem(s): " + "; ".join(problems[:20]),
            where=path,
            fix="build the cache again with --force",
        )
    for finding in findings:
        print(finding)
    print(f"{path}: sound")


@cache_app.command("info", epilog="Example: crbench cache info ben-14k-twin")
def info_command(
    cache: CacheOrCard, scale: opt.DatasetScale = None, as_json: opt.AsJson = False
) -> None:
    """What a cache holds: pairs, splits, bands, sizes, statistics, digest."""
    from crbench.board.writers import page
    from crbench.data.cache.reading import cache_info

    facts = cache_info(_cache_path(cache, scale))
    if as_json:
        opt.print_json(facts)
    else:
        print(page("cache.txt", **facts), end="")


@cache_app.command("preview", epilog="Example: crbench cache preview ben-14k-twin --out pairs.png")
def preview_command(
    cache: CacheOrCard,
    out: Path = typer.Option(Path("preview.png"), help="PNG to write."),
    pairs: int = typer.Option(12, min=1, max=100, help="Pairs to show."),
    scale: opt.DatasetScale = None,
) -> None:
    """Write a PNG of pairs: both sensors side by side with their labels."""
    from crbench.data.cache.reading import open_cache
    from crbench.draw.preview import pair_sheet

    opt.check_picture(out)
    print(pair_sheet(open_cache(_cache_path(cache, scale)), out, n=pairs))
