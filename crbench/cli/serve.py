"""The command that shows a run's search as a page on this machine: serve."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from crbench.cli.options import CacheFile, Device, Quiet, RecordFile, Run, Weights


def serve_command(
    run: Run,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes any that is free.")
    ] = 8000,
    record: RecordFile = None,
    cache: CacheFile = None,
    weights: Weights = "last",
    device: Device = "auto",
    browser: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    quiet: Quiet = False,
) -> None:
    """Show a run's search as a web page on this machine: pick or upload a query, see neighbours.

    The page listens on 127.0.0.1 alone, and what is uploaded stays in memory. Ctrl-C ends it.
    """
    from crbench.serve.start import address, answer_requests, check_installed, listen

    check_installed()
    from crbench.archive.search import open_search
    from crbench.records import read_record
    from crbench.serve.app import application, warm

    listening = listen(port)  # before the long work: a port that is taken is known at once
    with listening:
        found = open_search(
            run,
            cache=cache,
            record=read_record(record) if record else None,
            weights=weights,
            device=device,
            quiet=quiet,
        )
        warm(found)
        app = application(found)
        url = address(listening)
        print(url, flush=True)
        if not quiet:
            print("Ctrl-C ends it", file=sys.stderr)
        if browser:
            import webbrowser

            webbrowser.open(url)
        answer_requests(app, listening)
        print("\nended; nothing was kept", file=sys.stderr)
