"""The ``crbench`` command. Importing it costs typer alone; each command imports what it needs."""

from crbench.cli.app import app, main

__all__ = ["app", "main"]
