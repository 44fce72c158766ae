"""How far long work has come: a live bar on a terminal, elsewhere a line every few seconds.

Both stand on standard error. rich is imported when a bar is drawn.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, TypeVar

_T = TypeVar("_T")
_LIVE_S = 1.0  # between looks at a note, which may wait for a device
_LINE_S = 5.0  # between lines where there is no terminal


class Bar:
    """Work of ``total`` units, of which ``done`` are done; shows nothing by itself.

    ``note`` is a function of what else a person wants to know, called when it is shown.
    """

    def __init__(self, label: str, total: int, unit: str) -> None:
        self.label, self.total, self.unit, self.done = label, total, unit, 0
        self.note: Callable[[], str] = str

    def advance(self, count: int = 1) -> None:
        """``count`` units more are done."""
        self.done += count
        self._show()

    def say(self, text: str) -> None:
        """Print a line, above the bar where there is one."""
        print(text, file=sys.stderr, flush=True)

    def _show(self) -> None:
        pass

    def _end(self) -> None:
        pass


class _Lines(Bar):
    """A line every few seconds, and one at the end of work that took longer than that."""

    def __init__(self, label: str, total: int, unit: str) -> None:
        super().__init__(label, total, unit)
        self.shown, self.line = time.monotonic(), ""

    def _show(self) -> None:
        if time.monotonic() - self.shown >= _LINE_S:
            self._print()

    def _print(self) -> None:
        self.shown = time.monotonic()
        parts = (f"{self.label}: {self.done:,}/{self.total:,} {self.unit}".rstrip(), self.note())
        line = ", ".join(filter(None, parts))
        if line != self.line:
            self.line = line
            self.say(line)

    def _end(self) -> None:
        if self.line:
            self._print()


class _Live(Bar):
    """rich's bar, with the time that is left."""

    def __init__(self, label: str, total: int, unit: str, transient: bool) -> None:
        from rich import progress
        from rich.console import Console

        super().__init__(label, total, unit)
        self.progress = progress.Progress(
            progress.SpinnerColumn(),
            progress.TextColumn("[bold]{task.description}"),
            progress.BarColumn(bar_width=24),
            progress.TextColumn("{task.completed:,}/{task.total:,} {task.fields[unit]}"),
            progress.TimeRemainingColumn(compact=True),
            progress.TextColumn("[dim]{task.fields[note]}"),
            console=Console(stderr=True),
            transient=transient,
        )
        self.task = self.progress.add_task(label, total=total, unit=unit, note="")
        self.looked = 0.0
        self.progress.start()

    def _show(self) -> None:
        fields: dict[str, Any] = {}
        if time.monotonic() - self.looked >= _LIVE_S:
            fields["note"] = self.note()
            self.looked = time.monotonic()
        self.progress.update(
            self.task, description=self.label, total=self.total, completed=self.done, **fields
        )

    def say(self, text: str) -> None:
        self.progress.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _end(self) -> None:
        self.progress.stop()


@contextlib.contextmanager
def bar(
    label: str, total: int, unit: str = "", *, quiet: bool = False, transient: bool = True
) -> Iterator[Bar]:
    """A bar of ``total`` units; ``quiet`` shows none, ``transient`` takes it away at the end."""
    shown: Bar
    if quiet:
        shown = Bar(label, total, unit)
    elif sys.stderr.isatty():
        shown = _Live(label, total, unit, transient)
    else:
        shown = _Lines(label, total, unit)
    try:
        yield shown
    finally:
        shown._end()


def watched(
    items: Iterable[_T], label: str, unit: str = "", *, quiet: bool = False
) -> Iterator[_T]:
    """``items`` (of known number), one after the other, under a bar."""
    total = len(items) if isinstance(items, Sized) else 0
    with bar(label, total, unit, quiet=quiet) as shown:
        for item in items:
            yield item
            shown.advance()
