"""Progress: a live bar on a terminal, a line every few seconds elsewhere, nothing where quiet."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from crbench import progress
from crbench.progress import Bar, bar, watched


class Clock:
    """The time that progress sees; it stands still unless moved."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    moved = Clock()
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=moved))
    return moved


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Make standard error a terminal of 120 columns; not by a fixture, whose stream pytest's own
    capture would replace when the test begins."""
    stream = Terminal()
    for variable in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def steps(shown: Bar, clock: Clock, count: int, seconds: float) -> None:
    for _ in range(count):
        clock.now += seconds
        shown.advance()


def test_quick_work_leaves_no_line(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with bar("embedding", 4, "batches") as shown:
        steps(shown, clock, 4, 1.0)  # 4.0 s in all, less than a line takes
    assert capsys.readouterr() == ("", "")


def test_a_line_every_five_seconds_and_one_at_the_end(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with bar("embedding S1", 1200, "batches") as shown:
        for _ in range(12):
            clock.now += 1.0
            shown.advance(100)
    assert capsys.readouterr() == (
        "",
        "embedding S1: 500/1,200 batches\n"
        "embedding S1: 1,000/1,200 batches\n"
        "embedding S1: 1,200/1,200 batches\n",
    )


def test_the_end_is_not_said_twice(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with bar("x", 2) as shown:
        steps(shown, clock, 2, 5.0)
    assert capsys.readouterr().err == "x: 1/2\nx: 2/2\n"


def test_the_last_line_comes_where_work_breaks_off(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RuntimeError), bar("x", 9) as shown:
        steps(shown, clock, 6, 1.0)
        raise RuntimeError
    assert capsys.readouterr().err == "x: 5/9\nx: 6/9\n"


def test_a_note_is_read_where_a_line_is_written_and_nowhere_else(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    reads: list[int] = []

    def note() -> str:
        reads.append(shown.done)
        return f"loss {shown.done / 10}"

    with bar("training", 12) as shown:
        shown.note = note
        steps(shown, clock, 12, 1.0)
    assert reads == [5, 10, 12]
    assert capsys.readouterr().err.splitlines()[1] == "training: 10/12, loss 1.0"


def test_label_and_total_may_change_on_the_way(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with bar("one", 2) as shown:
        shown.label, shown.total = "two", 7
        steps(shown, clock, 1, 5.0)
        shown.say("by the way")
    assert capsys.readouterr().err == "two: 1/7\nby the way\n"


def test_quiet_work_shows_nothing_and_counts(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)

    def note() -> str:
        raise AssertionError("a quiet bar reads no note")

    with bar("x", 2, quiet=True) as shown:
        shown.note = note
        steps(shown, clock, 2, 100.0)
        assert shown.done == 2 and terminal.getvalue() == ""
        shown.say("a warning is said all the same")
    assert terminal.getvalue() == "a warning is said all the same\n"


def test_a_terminal_has_a_bar(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with bar("embedding", 2000, "batches", transient=False) as shown:
        shown.advance(1500)
        shown.label = "embedding S2"
        shown.advance(500)
    last = terminal.getvalue().rpartition("\r")[2]
    assert "embedding S2" in last and "2,000/2,000 batches" in last


def test_a_passing_bar_is_wiped_and_a_lasting_one_is_left(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = on_terminal(monkeypatch)
    wipe, endings = "\x1b[2K", []
    for transient in (True, False):
        with bar("x", 1, transient=transient) as shown:
            shown.advance()
        endings.append(terminal.getvalue().rpartition("1/1")[2].count(wipe))
    assert endings[0] > endings[1] == 0


def test_a_terminal_reads_its_note_once_a_second(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_terminal(monkeypatch)
    reads: list[int] = []
    with bar("training", 100) as shown:
        shown.note = lambda: str(reads.append(shown.done))
        steps(shown, clock, 100, 0.125)
    assert reads == [1, *range(9, 98, 8)]


def test_words_stand_above_the_bar_as_they_are(
    clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = on_terminal(monkeypatch)
    with bar("x", 3) as shown:
        shown.say("kept [bold]weights[/bold] of " + "long " * 40)
    assert "kept [bold]weights[/bold] of " + "long " * 40 in terminal.getvalue()


def test_what_is_watched_comes_through_in_order(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    def slow() -> Iterator[int]:
        for item in watched([3, 1, 2], "reading", "files"):
            clock.now += 5.0
            yield item

    assert list(slow()) == [3, 1, 2]
    assert capsys.readouterr().err == (
        "reading: 1/3 files\nreading: 2/3 files\nreading: 3/3 files\n"
    )
    assert list(watched(iter("ab"), "x", quiet=True)) == ["a", "b"]
