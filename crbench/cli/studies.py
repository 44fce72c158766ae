"""Commands on whole tables and on cost: ablate, profile."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Annotated, Any

import typer

from crbench.cli.options import AsJson, CacheFile, Device, Quiet

ABLATIONS = Path("results/ablations")

Scale = Annotated[
    str | None, typer.Option(help="Overlay of the method cards, e.g. tiny.", show_default=False)
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Set one card key; repeatable.", show_default=False
    ),
]
Threads = Annotated[int | None, typer.Option(min=1, help="CPU threads.", show_default=False)]


class Launcher(enum.StrEnum):
    """Where a study's runs are made."""

    local = "local"
    slurm = "slurm"


def ablate(
    study: Annotated[
        str, typer.Argument(help="Study card: a name or a .toml file.", show_default=False)
    ],
    dataset: Annotated[
        str | None,
        typer.Option(
            help="Dataset card; the published table's own by default.", show_default=False
        ),
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
        int | None,
        typer.Option(min=1, help="CPU threads of each run; cores / jobs.", show_default=False),
    ] = None,
    slurm: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE",
            help="submitit parameter, e.g. slurm_partition=gpu; repeatable.",
            show_default=False,
        ),
    ] = None,
    device: Device = "auto",
    cache: CacheFile = None,
    out: Annotated[
        Path | None,
        typer.Option(help=f"Folder of the table; {ABLATIONS}/DATASET.", show_default=False),
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
    from crbench.study.ablate import ablate as run_ablate
    from crbench.study.ablate import shelf_of
    from crbench.study.pages import ablate_command, check_place
    from crbench.study.study import load_study

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
        check_place(folder / f"{card.name}.md", ablate_command(card, title, scale, sets))
    codes: dict[str, int] = {}
    if not table:
        codes = run_ablate(
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
            options=_pairs(slurm),
            out=folder,
            quiet=quiet or as_json,
        )
    from crbench.draw.study import write_picture
    from crbench.study.pages import write_study
    from crbench.study.table import study_json, study_table

    shelf, _ = shelf_of(name, cache, folder, need_cache=False)
    found = study_table(card, shelf, scale=scale, seeds=seeds, overrides=sets)
    paths = write_study(found, folder)
    if found.record:
        paths.append(write_picture(found, folder))
    if as_json:
        print(json.dumps(study_json(found), indent=2, ensure_ascii=False))
    else:
        from crbench.study.terminal import print_study

        print_study(found)
        print("written: " + ", ".join(str(path) for path in paths))
    if any(codes.values()):
        raise typer.Exit(1)


def _pairs(items: list[str] | None) -> dict[str, str]:
    from crbench.errors import UserError

    found = {}
    for item in items or ():
        key, equals, value = item.partition("=")
        if not equals:
            raise UserError(f"'{item}' is no parameter", where="--slurm", fix="write key=value")
        found[key] = value
    return found


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
    from crbench.study.estimate import cache_or_none, plan
    from crbench.study.study import jobs

    shelf, path = shelf_of(name, cache, folder, need_cache=False)
    found = jobs(card, name, scale, seeds, sets)
    each = threads or max(1, cores() // max_jobs)
    data = cache_or_none(path, name, cache)
    lines = plan(found, shelf, data, device=device, threads=each)
    if as_json:
        print(json.dumps([vars(line) for line in lines], indent=2, ensure_ascii=False))
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
        found = {"row": row.name, **_profile_apart(words)}
        found["published"] = published_cost(row.printed.get("method", ""), dataset)
        rows.append(found)
    paths = write_cost(card, rows, dataset, folder)
    if as_json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    for found in rows:
        print_profile(found)
    print("written: " + ", ".join(str(path) for path in paths))


def _profile_apart(words: list[str]) -> dict[str, Any]:
    """``crbench profile`` in a process of its own: peak memory is a process's, not a row's."""
    import subprocess

    from crbench.errors import UserError
    from crbench.study.launch import own_process

    command = own_process("crbench", "profile", *words, "--json")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        said = done.stderr.strip().removeprefix("error: ") or f"exit code {done.returncode}"
        raise UserError(f"cannot profile {words[0]}: {said}", where=" ".join(words))
    return dict(json.loads(done.stdout))


def profile(
    method: Annotated[str, typer.Argument(help="Method card: a name or a .toml file.")],
    dataset: Annotated[str, typer.Argument(help="Dataset card: a name or a .toml file.")],
    scale: Scale = None,
    overrides: Overrides = None,
    device: Device = "auto",
    threads: Threads = None,
    batch: Annotated[
        int | None,
        typer.Option(min=1, help="Images per batch of the throughput.", show_default=False),
    ] = None,
    timed: Annotated[
        bool, typer.Option("--time/--no-time", help="Measure time and memory, or only count.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """What a method costs: parameters by part, operations, latency, throughput and memory.

    Counts need no data and no memory; latency and throughput are measured on the device at hand.
    """
    from crbench.study.cost import print_profile, published_cost
    from crbench.training.profile import profile as run_profile

    found = run_profile(
        method,
        dataset,
        scale=None if scale == "paper" else scale,
        overrides=tuple(overrides or ()),
        device=device,
        threads=threads,
        batch=batch,
        timed=timed,
    )
    plain = found["scale"] == "paper" and not overrides  # what the paper's figures are of
    found["published"] = published_cost(found["title"], dataset) if plain else []
    if as_json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        print_profile(found)


def register(app: typer.Typer) -> None:
    """Add this file's commands to ``app``."""
    app.command(
        epilog="Example: crbench ablate table-s3 --dataset ben-14k-twin --scale tiny --max-jobs 2"
    )(ablate)
    app.command(epilog="Example: crbench profile cr-jepa ben-14k --json")(profile)
