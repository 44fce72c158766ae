"""``python -m crbench``: the same as the ``crbench`` command."""

from crbench.cli import main

main()
