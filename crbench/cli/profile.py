"""``crbench profile``: what a method costs."""

from __future__ import annotations

from typing import Annotated

import typer

from crbench.cli.options import (
    AsJson,
    DatasetName,
    Device,
    MethodName,
    Overrides,
    Scale,
    Threads,
    optional,
    print_json,
)


def profile_command(
    method: MethodName,
    dataset: DatasetName,
    scale: Scale = None,
    overrides: Overrides = None,
    device: Device = "auto",
    threads: Threads = None,
    batch: Annotated[
        int | None,
        optional(min=1, help="Images per batch of the throughput."),
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
        print_json(figures)
    else:
        print_profile(figures)
