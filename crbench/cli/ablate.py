"""``crbench ablate``: a table of the paper, from its missing runs to its page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from crbench.cli import options as opt

if TYPE_CHECKING:
    from crbench.study.ablate import StudySettings


def ablate_command(
    study: str = typer.Argument(help="Study card: a name or a .toml file."),
    dataset: str | None = typer.Option(
        None, help="Dataset card; the published table's own by default."
    ),
    seeds: int = typer.Option(3, min=1, help="Trainings per row: seeds 0 to N − 1."),
    scale: opt.Scale = None,
    overrides: opt.Overrides = None,
    plan: bool = typer.Option(
        False, "--plan", help="Say what would run and how long it takes, and stop."
    ),
    table: bool = typer.Option(
        False, "--table", help="Make the table from the records at hand; run nothing."
    ),
    launcher: opt.Launched = opt.Launcher.local,
    max_jobs: opt.MaxJobs = 1,
    threads: opt.RunThreads = None,
    slurm: opt.Slurm = None,
    device: opt.Device = "auto",
    cache: opt.CacheFile = None,
    out: Path | None = typer.Option(None, help=f"Folder of the table; {opt.ABLATIONS}/DATASET."),
    as_json: opt.AsJson = False,
    quiet: opt.Quiet = False,
) -> None:
    """Make a table of the paper: run what is missing, then write it beside the published one.

    A run that any record holds is not made again. A run that fails is shown as failed, stops no
    other, and is tried again next time; the exit code is then 1.
    """
    from crbench.cards import load_dataset
    from crbench.errors import UserError
    from crbench.study.ablate import StudySettings, cache_at_hand, run_study, shelf_of
    from crbench.study.cards import load_study
    from crbench.study.pages import check_place, study_command

    card = load_study(study)
    name = dataset or card.datasets[0]
    title = load_dataset(name).name
    folder = out or opt.ABLATIONS / title
    settings = StudySettings(
        card,
        name,
        scale=scale,
        seeds=seeds,
        overrides=tuple(overrides or ()),
        cache=cache,
        device=device,
        threads=threads,
        launcher=launcher.value,
        max_jobs=max_jobs,
        options=opt.slurm_options(slurm),
        out=folder,
        quiet=quiet or as_json,
    )
    if card.kind == "profile":
        if plan or table:
            raise UserError(
                f"'{card.name}' is measured at once: it has no runs to plan and no records",
                where="--plan" if plan else "--table",
                fix="leave it out",
            )
        _cost(settings, as_json)
        return
    if plan:
        _plan(settings, as_json)
        return
    if out is None:
        check_place(
            folder / f"{card.name}.md", study_command(card, title, scale, settings.overrides)
        )
    codes = {} if table else run_study(settings)
    from crbench.draw.study import write_picture
    from crbench.study.pages import write_study
    from crbench.study.table import study_json, study_table

    shelf = shelf_of(settings, cache_at_hand(settings))
    measured = study_table(card, shelf, scale=scale, seeds=seeds, overrides=settings.overrides)
    paths = write_study(measured, folder)
    if measured.record:
        paths.append(write_picture(measured, folder))
    if as_json:
        opt.print_json(study_json(measured))
    else:
        from crbench.study.terminal import print_study

        print_study(measured)
        opt.print_written(paths)
    if any(codes.values()):
        raise typer.Exit(1)


def _plan(settings: StudySettings, as_json: bool) -> None:
    from crbench.study.ablate import cache_at_hand, shelf_of
    from crbench.study.estimate import plan_runs
    from crbench.study.terminal import print_plan

    data = cache_at_hand(settings)
    shelf = shelf_of(settings, data)
    threads = settings.threads_each
    lines = plan_runs(settings.jobs, shelf, data, device=settings.device, threads=threads)
    if as_json:
        opt.print_json([vars(line) for line in lines])
    else:
        print_plan(settings.study, settings.dataset, lines, settings.max_jobs, threads)


def _cost(settings: StudySettings, as_json: bool) -> None:
    from crbench.progress import watched
    from crbench.study.cards import option_words
    from crbench.study.cost import print_profile, published_cost, write_cost

    rows = []
    for row in watched(settings.study.rows, "profiles", quiet=settings.quiet):
        options = {
            "--scale": settings.scale,
            "--set": [*row.set, *settings.overrides],
            "--device": settings.device,
            "--threads": settings.threads,
        }
        words = [row.method, settings.dataset, *option_words(options)]
        published = published_cost(row.printed.get("method", ""), settings.dataset)
        rows.append({"row": row.name, **_profile_apart(words), "published": published})
    paths = write_cost(settings.study, rows, settings.dataset, settings.out)
    if as_json:
        opt.print_json(rows)
        return
    for figures in rows:
        print_profile(figures)
    opt.print_written(paths)


def _profile_apart(words: list[str]) -> dict[str, Any]:
    """``crbench profile`` in a process of its own: peak memory is a process's, not a row's."""
    import subprocess

    from crbench.errors import UserError
    from crbench.study.launch import own_process

    command = own_process("crbench", "profile", *words, "--json")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        why = done.stderr.strip().removeprefix("error: ") or f"exit code {done.returncode}"
        raise UserError(f"cannot profile {words[0]}: {why}", where=" ".join(words))
    return dict(json.loads(done.stdout))
