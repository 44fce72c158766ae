"""How training is asked to stop: by a signal, heard at the next step."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


class Stop:
    """Set by SIGINT or SIGTERM; the loop saves and ends at the next step."""

    requested = False


@contextlib.contextmanager
def stop_on_signal(*, patient: bool = False) -> Iterator[Stop]:
    """Turn the first SIGINT or SIGTERM into ``Stop.requested``; a second one acts as usual.

    ``patient``: later ones change nothing. A rank hears the signal from the terminal or the
    cluster and once more from torchrun, which itself kills what does not end in half a minute.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def request(number: int, frame: Any) -> None:
        stop.requested = True
        if not patient:
            signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, request)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
