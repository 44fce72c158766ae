"""``crbench profile``: what a method costs."""

from __future__ import annotations

from typing import Annotated

import typer

from crbench.cli import options as opt


def profile_command(
    method: opt.MethodName,
    dataset: opt.DatasetName,
    scale: opt.Scale = None,
    overrides: opt.Overrides = None,
    device: opt.Device = "auto",
    threads: opt.Threads = None,
    batch: Annotated[
        int | None, opt.optional(min=1, help="Images per batch of the throughput.")
    ] = None,
    timed: Annotated[
        bool, typer.Option("--time/--no-time", help="Measure time and memory, or only count.")
    ] = True,
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
