"""Commands that make runs and score: demo, train, evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from crbench.cli.options import (
    AsJson,
    CacheFile,
    Device,
    Epochs,
    Quiet,
    Seed,
    Weights,
    picture,
)
from crbench.errors import UserError


def demo(
    out: Annotated[Path, typer.Option(help="Folder of the demo's runs, board and grids.")] = Path(
        "runs/demo"
    ),
    seed: Seed = 0,
    pairs: Annotated[
        int | None,
        typer.Option(min=64, help="Image pairs instead of the demo's.", show_default=False),
    ] = None,
    epochs: Epochs = None,
    quiet: Quiet = False,
) -> None:
    """Train and compare three methods on a small synthetic twin: a board in a few minutes."""
    from crbench.site.demo import finish
    from crbench.study.demo import demo as run_demo

    folder = run_demo(out, seed=seed, pairs=pairs, epochs=epochs, quiet=quiet)
    finish(folder)


def train(
    method: Annotated[str, typer.Argument(help="Method card: a name or a .toml file.")],
    dataset: Annotated[str, typer.Argument(help="Dataset card: a name or a .toml file.")],
    scale: Annotated[
        str | None,
        typer.Option(help="Overlay of the method card, e.g. tiny.", show_default=False),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Set one card key; repeatable.", show_default=False
        ),
    ] = None,
    epochs: Epochs = None,
    seed: Seed = 0,
    device: Device = "auto",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Run folder instead of the usual one under runs.",
            show_default=False,
        ),
    ] = None,
    cache: CacheFile = None,
    bands: Annotated[
        list[str] | None,
        typer.Option(
            metavar="a=VH,VV",
            help="Bands of a sensor that the model sees, in its order; repeatable.",
            show_default=False,
        ),
    ] = None,
    loading: Annotated[
        str, typer.Option(help="Pixels in memory, streamed, or auto: in memory if they fit.")
    ] = "auto",
    resume: Annotated[bool, typer.Option(help="Go on from the last checkpoint.")] = False,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads.", show_default=False)
    ] = None,
    eval_every: Annotated[
        int, typer.Option(min=0, metavar="N", help="Score the validation split every N epochs.")
    ] = 0,
    keep_last: Annotated[
        int, typer.Option(min=1, metavar="K", help="Checkpoints kept to go on from.")
    ] = 1,
    keep_best: Annotated[
        str | None,
        typer.Option(
            metavar="METRIC",
            help="Keep the weights of the best epoch too, by --eval-every, e.g. map.",
            show_default=False,
        ),
    ] = None,
    stop_on_collapse: Annotated[
        bool,
        typer.Option("--stop-on-collapse", help="End with exit code 3 if embeddings collapse."),
    ] = False,
    track: Annotated[
        list[str] | None,
        typer.Option(
            metavar="tensorboard|wandb|trackio",
            help="Log there too, beside metrics.jsonl; repeatable.",
            show_default=False,
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Train a method on a dataset's cache; leaves a run folder with weights and metrics.

    Exit codes: 2 bad input or a loss that is not finite, 3 collapse (--stop-on-collapse), 130
    stopped by a signal, saved.
    """
    from crbench.draw.curves import after_training
    from crbench.run.folder import Options
    from crbench.run.ranks import joined
    from crbench.training.loop import train as run_train

    options = Options(
        eval_every=eval_every,
        keep_last=keep_last,
        keep_best=keep_best,
        stop_on_collapse=stop_on_collapse,
        track=track or [],
    )
    with joined() as ranks:
        folder = run_train(
            method,
            dataset,
            scale=scale,
            overrides=tuple(overrides or ()),
            epochs=epochs,
            seed=seed,
            device=device,
            out=out,
            cache=cache,
            resume=resume,
            quiet=quiet,
            threads=threads,
            bands=tuple(bands or ()),
            loading=loading,
            ranks=ranks,
            options=options,
        )
    if not ranks.first:
        return
    after_training(folder)
    print(folder)
    if not quiet:
        print(f"next: crbench evaluate {folder}")


def evaluate(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH",
            help="Run folder, or file of embeddings (.h5, .npz, .parquet). Several, or a quoted "
            "pattern, with --compare: one training seed each.",
            show_default=False,
        ),
    ],
    dataset: Annotated[
        str | None,
        typer.Option(help="Dataset card of a file of embeddings.", show_default=False),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="What a file of embeddings goes by on boards.", show_default=False),
    ] = None,
    compare: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="PATH",
            help="Compare with this run or file on the same queries; repeatable, or a pattern.",
            show_default=False,
        ),
    ] = None,
    protocol: Annotated[
        str | None,
        typer.Option(help="Protocol of the dataset card, not its default.", show_default=False),
    ] = None,
    cache: CacheFile = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Record file instead of the usual place.", show_default=False),
    ] = None,
    device: Device = "auto",
    grid: Annotated[
        Path | None,
        typer.Option(help="Also write a PNG of retrievals there.", show_default=False),
    ] = None,
    approximate: Annotated[
        str | None,
        typer.Option(
            metavar="ivf|hnsw",
            help="Search the top k by this index of FAISS; no mAP, and the record is marked.",
            show_default=False,
        ),
    ] = None,
    weights: Weights = "last",
    probe: Annotated[
        bool, typer.Option("--probe", help="Add a linear probe, a supervised reference.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Score a run or anyone's embeddings in four directions; leaves one record JSON.

    With --compare: the differences of two, paired by query, and whether they are significant.
    """
    if grid is not None:
        picture(grid)
    if compare:
        alone = {"--name": name, "--grid": grid, "--approximate": approximate}
        for option, given in (alone | {"--probe": probe or None}).items():
            if given is not None:
                raise UserError(f"{option} does not go with --compare", fix="leave one of them out")
        print_comparison(
            paths, compare, dataset=dataset, protocol=protocol, cache=cache, out=out,
            device=device, quiet=quiet or as_json, as_json=as_json,
        )  # fmt: skip
        return
    from crbench.evaluation.evaluate import evaluate as run_evaluate
    from crbench.run.ranks import joined

    if len(paths) > 1:
        raise UserError(
            f"{len(paths)} runs at once",
            where=paths[1],
            fix="evaluate one at a time, or name others by --compare",
        )
    run = paths[0]
    if grid is not None and run.is_file():
        raise UserError("a grid is drawn of a run", where=run, fix="leave out --grid")
    with joined() as ranks:
        record = run_evaluate(
            run,
            dataset=dataset,
            name=name,
            protocol=protocol,
            cache=cache,
            out=out,
            device=device,
            approximate=approximate,
            probe=probe,
            ranks=ranks,
            quiet=quiet or as_json,
            weights=weights,
        )
    if not ranks.first:
        return
    if as_json:
        print(record.model_dump_json(indent=2))
    else:
        from crbench.board.rows import boards
        from crbench.board.terminal import print_boards

        print_boards(boards([record]))
    if grid is not None:
        from crbench.draw.grids import run_grid

        print(run_grid(run, grid, record=record, cache=cache))


def print_comparison(
    a: list[Path],
    b: list[Path],
    *,
    dataset: str | None,
    protocol: str | None,
    cache: Path | None,
    out: Path | None,
    device: str,
    quiet: bool,
    as_json: bool,
) -> None:
    """Compare, print the table or JSON, and write the JSON to ``out`` if given."""
    import json

    from crbench.board.comparison import comparison_data, print_comparison_table
    from crbench.evaluation.compare import compare_runs
    from crbench.files import write_json

    found = compare_runs(
        a, b, dataset=dataset, protocol=protocol, cache=cache, out=out, device=device, quiet=quiet
    )
    if out is not None:
        write_json(out, comparison_data(found))
    if as_json:
        print(json.dumps(comparison_data(found), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        print_comparison_table(found)


def register(app: typer.Typer) -> None:
    """Add this file's commands to ``app``."""
    app.command(epilog="Example: crbench demo --out runs/demo")(demo)
    app.command(
        epilog="Example: crbench train cr-jepa ben-14k-twin --scale tiny --set loss.uni=0.5"
    )(train)
    app.command(
        epilog="Example: crbench evaluate runs/ben-14k-twin/cr-jepa@tiny/seed0 --grid g.png; "
        "crbench evaluate mine.npz --dataset ben-14k-twin --name mine"
    )(evaluate)
