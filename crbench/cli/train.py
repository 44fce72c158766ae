"""``crbench train`` and ``crbench profile``: a method on a dataset's cache, and what it costs."""

from __future__ import annotations

import sys
from pathlib import Path

import typer

from crbench.cli import options as opt


def train_command(
    method: opt.MethodName,
    dataset: opt.DatasetName,
    scale: opt.Scale = None,
    overrides: opt.Overrides = None,
    epochs: opt.Epochs = None,
    seed: opt.Seed = 0,
    device: opt.Device = "auto",
    out: Path | None = typer.Option(None, help="Run folder instead of the usual one under runs."),
    cache: opt.CacheFile = None,
    bands: list[str] | None = typer.Option(
        None,
        metavar="a=VH,VV",
        help="Bands of a sensor that the model sees, in its order; repeatable.",
    ),
    loading: str = typer.Option(
        "auto", help="Pixels in memory, streamed, or auto: in memory if they fit."
    ),
    resume: bool = typer.Option(False, help="Go on from the last checkpoint."),
    threads: opt.Threads = None,
    eval_every: int = typer.Option(
        0, min=0, metavar="N", help="Score the validation split every N epochs."
    ),
    keep_last: int = typer.Option(1, min=1, metavar="K", help="Checkpoints kept to go on from."),
    keep_best: str | None = typer.Option(
        None,
        metavar="METRIC",
        help="Keep the weights of the best epoch too, by --eval-every, e.g. map.",
    ),
    stop_on_collapse: bool = typer.Option(
        False, "--stop-on-collapse", help="End with exit code 3 if embeddings collapse."
    ),
    track: list[str] | None = typer.Option(
        None,
        metavar="tensorboard|wandb|trackio",
        help="Log there too, beside metrics.jsonl; repeatable.",
    ),
    quiet: opt.Quiet = False,
) -> None:
    """Train a method on a dataset's cache; leaves a run folder with weights and metrics.

    Exit codes: 2 bad input or a loss that is not finite, 3 collapse (--stop-on-collapse), 130
    stopped by a signal, saved.
    """
    from crbench import train as run_train
    from crbench.draw.curves import after_training
    from crbench.run.devices import joined
    from crbench.run.folder import Options, RunFolder

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
        for step, shares in RunFolder(folder).finished().gradient_shares.items():
            terms = "  ".join(f"{term} {100 * share:.1f}" for term, share in shares.items())
            print(f"gradient at step {int(step) + 1}, percent by term: {terms}", file=sys.stderr)
        print(f"next: crbench evaluate {folder}")


def profile_command(
    method: opt.MethodName,
    dataset: opt.DatasetName,
    scale: opt.Scale = None,
    overrides: opt.Overrides = None,
    device: opt.Device = "auto",
    threads: opt.Threads = None,
    batch: int | None = typer.Option(None, min=1, help="Images per batch of the throughput."),
    timed: bool = typer.Option(
        True, "--time/--no-time", help="Measure time and memory, or only count."
    ),
    as_json: opt.AsJson = False,
) -> None:
    """What a method costs: parameters by part, operations, latency, throughput and memory.

    Counts need no data and no memory; latency and throughput are measured on the device at hand.
    """
    from crbench.study.cost import print_profile, published_cost
    from crbench.training.profile import profile as run_profile

    figures = run_profile(
        method,
        dataset,
        scale=None if scale == "paper" else scale,
        overrides=tuple(overrides or ()),
        device=device,
        threads=threads,
        batch=batch,
        timed=timed,
    )
    plain = figures["scale"] == "paper" and not overrides  # what the paper's figures are of
    figures["published"] = published_cost(figures["title"], dataset) if plain else []
    if as_json:
        opt.print_json(figures)
    else:
        print_profile(figures)
