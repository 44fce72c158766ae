"""How training is asked to stop: the first signal is heard, the second acts as it always did."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator

import pytest

from crbench.training.stopping import stop_on_signal

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture
def usual() -> Iterator[list[int]]:
    """Signals that reached the handlers that were there before."""
    reached: list[int] = []
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        signal.signal(number, lambda n, _: reached.append(n))
    yield reached
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_asks_and_the_second_acts(number: signal.Signals, usual: list) -> None:
    with stop_on_signal() as stop:
        assert not stop.requested
        signal.raise_signal(number)
        assert stop.requested and usual == []
        signal.raise_signal(number)
        assert usual == [number]


def test_each_kind_of_signal_has_a_first_one(usual: list) -> None:
    with stop_on_signal() as stop:
        for number in SIGNALS:
            signal.raise_signal(number)
        assert stop.requested and usual == []


def test_a_patient_run_hears_no_later_one(usual: list) -> None:
    with stop_on_signal(patient=True) as stop:
        for _ in range(3):
            signal.raise_signal(signal.SIGTERM)
        assert stop.requested and usual == []


@pytest.mark.parametrize("patient", [False, True])
def test_afterwards_signals_act_as_before(patient: bool, usual: list) -> None:
    handlers = [signal.getsignal(number) for number in SIGNALS]
    with pytest.raises(RuntimeError), stop_on_signal(patient=patient):
        assert [signal.getsignal(number) for number in SIGNALS] != handlers
        raise RuntimeError("training failed")
    assert [signal.getsignal(number) for number in SIGNALS] == handlers
    with stop_on_signal() as stop:  # of a run after it: nothing was asked of this one
        assert not stop.requested
    signal.raise_signal(signal.SIGINT)
    assert usual == [signal.SIGINT]


def test_in_another_thread_signals_are_left_alone(usual: list) -> None:
    """Python hands them to the main thread, and lets no other set a handler."""
    seen: list[object] = []

    def run() -> None:
        with stop_on_signal() as stop:
            seen.append([stop.requested, *(signal.getsignal(number) for number in SIGNALS)])

    before = [signal.getsignal(number) for number in SIGNALS]
    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == [[False, *before]]
