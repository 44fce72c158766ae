"""Listening and ending: a port of this machine alone, and SIGINT however it was started."""

from __future__ import annotations

import socket
import urllib.request
from typing import Any

import pytest

from crbench.errors import UserError
from crbench.serve.start import address, listen


def test_an_interrupt_ends_it_where_the_parent_ignores_interrupts(
    served_ignoring_interrupts: Any,
) -> None:
    """How it ends is checked by the fixture, as for every page that is served here."""
    with urllib.request.urlopen(served_ignoring_interrupts.url, timeout=60) as answer:
        assert answer.status == 200
    with open(f"/proc/{served_ignoring_interrupts.process.pid}/status") as status:
        (mask,) = (line.split()[1] for line in status if line.startswith("SigCgt"))
    assert int(mask, 16) & 2  # now the server takes SIGINT, which began ignored


def test_a_free_port_is_of_this_machine_and_a_taken_one_is_said() -> None:
    with listen(0) as listening:
        port = listening.getsockname()[1]
        assert address(listening) == f"http://127.0.0.1:{port}/"
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
        with pytest.raises(UserError, match=f"port {port} is not to be had: another program"):
            listen(port)
