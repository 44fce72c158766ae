"""Commands on caches: build, verify, info, preview."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from crbench.cli import options as opt

cache_app = typer.Typer(
    no_args_is_help=True,
    help="Build, check and look at dataset caches (one HDF5 file per dataset).",
    epilog="Example: crbench cache build ben-14k-twin",
)

_BAND_FACTS = ("mean", "std", "min", "max", "invalid", "published_mean", "published_std")
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
    from crbench.data.cache.verify import examine_cache
    from crbench.errors import UserError

    path = _cache_path(cache, scale)
    problems, findings = examine_cache(path, quiet=quiet)
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
    from crbench.data.cache.reading import cache_info

    facts = cache_info(_cache_path(cache, scale))
    if as_json:
        opt.print_json(facts)
        return
    for line in info_lines(facts):
        print(line)


def info_lines(facts: dict[str, Any]) -> list[str]:
    """The lines that ``cache info`` prints, from ``cache_info``."""
    kind = "synthetic" if facts["synthetic"] else facts["note"] or "real"
    splits = ", ".join(f"{name} {count:,}" for name, count in facts["splits"].items())
    lines = [
        f"{facts['title']} ({facts['dataset']}, scale {facts['scale']}, {kind})",
        f"file      {facts['path']}, {facts['bytes'] / 1e6:,.1f} MB",
        f"pairs     {facts['pairs']:,}: {splits}",
        *([f"missing   {facts['missing']:,}"] if facts["missing"] else []),
        f"digest    {facts['digest']}",
    ]
    for which, modality in facts["modalities"].items():
        size = "×".join(str(side) for side in modality["size"])
        lines.append(
            f"{which:<9} {modality['name']}, {size} px, {modality['dtype']}, {modality['units']}"
        )
        lines += [
            f"          {band:<6} {_band_facts(modality, position)}"
            for position, band in enumerate(modality["bands"])
        ]
    if classes := facts.get("classes"):
        lines.append(f"labels    {facts['labels']}")
        lines += [f"          {count:>7,}  {name}" for name, count in classes.items()]
    lines += [f"note      {note}" for note in facts["notes"]]
    return lines


def _band_facts(modality: dict[str, Any], position: int) -> str:
    """Mean, range, share of invalid pixels and published mean of a band, as far as they are known:
    older caches have no ranges."""
    column = {key: modality[key][position] for key in _BAND_FACTS if modality[key] is not None}
    text = f"{column['mean']:,.2f} ± {column['std']:,.2f}"
    if "min" in column:
        text += f", {column['min']:,.2f} to {column['max']:,.2f}"
        text += f", {column['invalid']:.2%} invalid" if column["invalid"] else ""
    if "published_mean" in column:
        text += f"   published {column['published_mean']:,.2f} ± {column['published_std']:,.2f}"
    return text


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
