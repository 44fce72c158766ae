"""What a person sees while a run goes on, and how it is asked to stop."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn
from torch import Tensor

from crbench.run.folder import RunInfo

REFRESH_S = 1.0  # reading a loss waits for the device, so the display reads it this rarely


class Stop:
    """Set by SIGINT or SIGTERM; the loop saves and ends at the next step."""

    asked = False


@contextlib.contextmanager
def stop_on_signal(*, patient: bool = False) -> Iterator[Stop]:
    """Turn the first SIGINT or SIGTERM into ``Stop.asked``; a second one acts as usual.

    ``patient``: later ones change nothing. A rank is told to stop by the terminal or the cluster
    and once more by torchrun, which itself kills what does not end in half a minute.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def ask(number: int, frame: Any) -> None:
        stop.asked = True
        if not patient:
            signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, ask)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class Bar:
    """A progress bar of training steps with loss terms and pairs per second."""

    def __init__(self, progress: Progress, task: Any) -> None:
        self.progress, self.task = progress, task
        self.shown, self.pairs, self.since = 0.0, 0, time.perf_counter()

    def start(self, done: int) -> None:
        """Begin at step ``done``."""
        self.progress.update(self.task, completed=done)

    def step(self, terms: Mapping[str, Tensor], pairs: int) -> None:
        """One step more; the terms are read at most once a second."""
        self.pairs += pairs
        self.progress.advance(self.task)
        now = time.perf_counter()
        if self.progress.disable or now - self.shown < REFRESH_S:
            return
        text = "  ".join(f"{name} {float(value):.3f}" for name, value in terms.items())
        rate = self.pairs / max(now - self.since, 1e-9)
        self.progress.update(self.task, terms=text, rate=f"{rate:,.0f} pairs/s")
        self.shown = now

    def say(self, text: str) -> None:
        """Print a line above the bar."""
        self.progress.console.print(text, highlight=False, markup=False, soft_wrap=True)


@contextlib.contextmanager
def training_bar(info: RunInfo, total: int, quiet: bool) -> Iterator[Bar]:
    """The bar of a run of ``total`` steps, on standard error."""
    card = info.method_card
    columns = (
        SpinnerColumn(),
        TextColumn(f"[bold]{card.title}[/] seed {info.seed}"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed}/{task.total} steps"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[rate]}"),
        TextColumn("[dim]{task.fields[terms]}[/]"),
    )
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=quiet) as progress:
        yield Bar(progress, progress.add_task("", total=total, terms="", rate=""))


@contextlib.contextmanager
def scoring_bar(directions: int, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """The bar of ranking so many directions, on standard error; gone when it is done."""
    columns = (
        SpinnerColumn(),
        TextColumn("scoring [bold]{task.description}[/]"),
        BarColumn(bar_width=24),
        TextColumn("{task.completed:,}/{task.total:,} queries"),
        TimeRemainingColumn(compact=True),
    )
    begun: list[str] = []
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=quiet, transient=True) as progress:
        bar = progress.add_task("", total=1, start=True)

        def show(direction: str, done: int, total: int) -> None:
            if direction not in begun:
                begun.append(direction)
            completed = (len(begun) - 1) * total + done
            progress.update(
                bar, description=direction, completed=completed, total=directions * total
            )

        yield show
