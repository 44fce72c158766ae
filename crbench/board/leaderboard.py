"""The leaderboard's files: the same records give the same bytes in every format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crbench.board.board import Board
from crbench.board.html import board_page
from crbench.board.latex import latex
from crbench.board.published import PublishedTable
from crbench.board.text import csv_text, markdown
from crbench.files import write_text

WRITERS = {"md": markdown, "csv": csv_text, "tex": latex, "html": board_page}
FILES = tuple(f"leaderboard.{kind}" for kind in WRITERS)


def write_boards(
    boards: Sequence[Board], published: Sequence[PublishedTable], out: Path
) -> list[Path]:
    """Write ``leaderboard.md``, ``.csv``, ``.tex`` and ``.html`` into ``out``, each atomically."""
    texts = [write(boards, published) for write in WRITERS.values()]  # all before the first file
    for name, text in zip(FILES, texts, strict=True):
        write_text(out / name, text)
    return [out / name for name in FILES]
