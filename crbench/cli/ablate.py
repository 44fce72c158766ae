"""``crbench ablate``: a table of the paper, from its missing runs to its page."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from crbench.cli.options import (
    ABLATIONS,
    AsJson,
    CacheFile,
    Device,
    Overrides,
    Quiet,
    Scale,
    optional,
    print_json,
)


class Launcher(enum.StrEnum):
    """Where a study's runs are made."""

    local = "local"
    slurm = "slurm"


def ablate_command(
    study: Annotated[
        str, typer.Argument(help="Study card: a name or a .toml file.", show_default=False)
    ],
    dataset: Annotated[
        str | None,
        optional(help="Dataset card; the published table's own by default."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings per row: seeds 0 to N − 1.")] = 3,
    scale: Scale = None,
    overrides: Overrides = None,
    plan: Annotated[
        bool, typer.Option("--plan", help="Say what would run and how long it takes, and stop.")
    ] = False,
    table: Annotated[
        bool, typer.Option("--table", help="Make the table from the records at hand; run nothing.")
    ] = False,
    launcher: Annotated[Launcher, typer.Option(help="Where the runs are made.")] = Launcher.local,
    max_jobs: Annotated[int, typer.Option(min=1, help="Runs at the same time.")] = 1,
    threads: Annotated[
        int | None, optional(min=1, help="CPU threads of each run; cores / jobs.")
    ] = None,
    slurm: Annotated[
        list[str] | None,
        optional(
            metavar="KEY=VALUE", help="submitit parameter, e.g. slurm_partition=gpu; repeatable."
        ),
    ] = None,
    device: Device = "auto",
    cache: CacheFile = None,
    out: Annotated[
        Path | None,
        optional(help=f"Folder of the table; {ABLATIONS}/DATASET."),
    ] = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Make a table of the paper: run what is missing, then write it beside the published one.

    A run that any record holds is not made again. A run that fails is shown as failed, stops no
    other, and is tried again next time; the exit code is then 1.
    """
    from crbench.cards import load_dataset
    from crbench.errors import UserError
    from crbench.study.ablate import run_study, shelf_of
    from crbench.study.cards import load_study
    from crbench.study.pages import check_place, study_command

    card = load_study(study)
    name = dataset or card.datasets[0]
    title = load_dataset(name).name
    folder = out or ABLATIONS / title
    sets = tuple(overrides or ())
    if card.kind == "profile":
        if plan or table:
            raise UserError(
                f"'{card.name}' is measured at once: it has no runs to plan and no records",
                where="--plan" if plan else "--table",
                fix="leave it out",
            )
        _cost(card, name, scale, sets, device, threads, folder, as_json)
        return
    if plan:
        _plan(card, name, scale, seeds, sets, cache, device, threads, max_jobs, folder, as_json)
        return
    if out is None:
        check_place(folder / f"{card.name}.md", study_command(card, title, scale, sets))
    codes: dict[str, int] = {}
    if not table:
        codes = run_study(
            card,
            name,
            scale=scale,
            seeds=seeds,
            overrides=sets,
            cache=cache,
            device=device,
            threads=threads,
            launcher=launcher.value,
            max_jobs=max_jobs,
            options=_slurm_options(slurm),
            out=folder,
            quiet=quiet or as_json,
        )
    from crbench.draw.study import write_picture
    from crbench.study.pages import write_study
    from crbench.study.table import study_json, study_table

    shelf, _ = shelf_of(name, cache, folder, need_cache=False)
    measured = study_table(card, shelf, scale=scale, seeds=seeds, overrides=sets)
    paths = write_study(measured, folder)
    if measured.record:
        paths.append(write_picture(measured, folder))
    if as_json:
        print_json(study_json(measured))
    else:
        from crbench.study.terminal import print_study

        print_study(measured)
        print("written: " + ", ".join(str(path) for path in paths))
    if any(codes.values()):
        raise typer.Exit(1)


def _slurm_options(items: list[str] | None) -> dict[str, str]:
    from crbench.errors import UserError

    options = {}
    for item in items or ():
        key, equals, value = item.partition("=")
        if not equals:
            raise UserError(f"'{item}' is no parameter", where="--slurm", fix="write key=value")
        options[key] = value
    return options


def _plan(
    card: Any,
    name: str,
    scale: str | None,
    seeds: int,
    sets: tuple[str, ...],
    cache: Path | None,
    device: str,
    threads: int | None,
    max_jobs: int,
    folder: Path,
    as_json: bool,
) -> None:
    from crbench.machine import cores
    from crbench.study.ablate import shelf_of
    from crbench.study.cards import study_jobs
    from crbench.study.estimate import cache_or_none, plan_runs

    shelf, path = shelf_of(name, cache, folder, need_cache=False)
    jobs = study_jobs(card, name, scale, seeds, sets)
    each = threads or max(1, cores() // max_jobs)
    data = cache_or_none(path, name, cache)
    lines = plan_runs(jobs, shelf, data, device=device, threads=each)
    if as_json:
        print_json([vars(line) for line in lines])
        return
    from crbench.study.terminal import print_plan

    print_plan(card, name, lines, max_jobs, each)


def _cost(
    card: Any,
    dataset: str,
    scale: str | None,
    sets: tuple[str, ...],
    device: str,
    threads: int | None,
    folder: Path,
    as_json: bool,
) -> None:
    from rich.progress import track

    from crbench.study.cost import print_profile, published_cost, write_cost

    rows = []
    for row in track(card.rows, description="profiles", disable=as_json, transient=True):
        words = [row.method, dataset, *(["--scale", scale] if scale else [])]
        words += [word for item in (*row.set, *sets) for word in ("--set", item)]
        words += ["--device", device, *(["--threads", str(threads)] if threads else [])]
        published = published_cost(row.printed.get("method", ""), dataset)
        rows.append({"row": row.name, **_profile_apart(words), "published": published})
    paths = write_cost(card, rows, dataset, folder)
    if as_json:
        print_json(rows)
        return
    for figures in rows:
        print_profile(figures)
    print("written: " + ", ".join(str(path) for path in paths))


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
