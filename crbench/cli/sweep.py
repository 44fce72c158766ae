"""``crbench sweep``: settings of a method, tried and judged on ``val``."""

from __future__ import annotations

from pathlib import Path

import typer

from crbench.cli import options as opt

_PLACE = Path("results/sweeps")


def sweep_command(
    sweep: str = typer.Argument(help="Sweep card: a name or a .toml file."),
    dataset: str = typer.Option(..., help="Dataset card."),
    by: str = typer.Option(
        "pair_r@5", metavar="METRIC", help="Judge by it: pair_r@5 sees no label, or a headline."
    ),
    seeds: int = typer.Option(1, min=1, help="Trainings per try: seeds 0 to N − 1."),
    scale: opt.Scale = None,
    overrides: opt.Overrides = None,
    table: bool = typer.Option(False, "--table", help="Show what was tried; run nothing."),
    max_jobs: opt.MaxJobs = 1,
    launcher: opt.Launched = opt.Launcher.local,
    slurm: opt.Slurm = None,
    threads: opt.RunThreads = None,
    cache: opt.CacheFile = None,
    device: opt.Device = "auto",
    out: Path | None = typer.Option(None, help=f"Folder of the page; {_PLACE}/DATASET."),
    as_json: opt.AsJson = False,
    quiet: opt.Quiet = False,
) -> None:
    """Try settings of a method and judge them on the split val, never on what a board scores.

    What was tried before is not run again; the page counts every try and says how sure the best is.
    """
    from crbench.cards import load_dataset
    from crbench.errors import unknown
    from crbench.study.ablate import StudySettings
    from crbench.study.sweep import RUNS, load_sweep, run_sweep, sweep_tries
    from crbench.study.tries import print_tries, tries_lines, write_sweep

    card, data = load_sweep(sweep), load_dataset(dataset)
    known = [*data.headline, "pair_r@5"]
    if by not in known:
        raise unknown("metric", by, known, where="--by")
    settings = StudySettings(
        card.study(),
        dataset,
        out or _PLACE / data.name,
        scale=scale,
        root=RUNS,
        seeds=seeds,
        cache=cache,
        overrides=tuple(overrides or ()),
        threads=threads,
        device=device,
        max_jobs=max_jobs,
        launcher=launcher.value,
        quiet=quiet or as_json,
        options=opt.slurm_options(slurm),
    )
    codes = {} if table else run_sweep(settings, by)
    tries = sweep_tries(settings.jobs, by)
    sensors = {"a": data.a.name, "b": data.b.name}
    paths = write_sweep(settings, card, tries, by, sensors)
    if as_json:
        opt.print_json(tries_lines(settings, tries, by))
    else:
        print_tries(card, tries, by, sensors)
        opt.print_written(paths)
    if any(codes.values()):
        raise typer.Exit(1)
