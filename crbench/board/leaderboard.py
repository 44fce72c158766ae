"""The leaderboard's files: the same records give the same bytes in every format."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from crbench.board.board_data import board_csv
from crbench.board.html import board_page, page
from crbench.board.latex import board_latex
from crbench.board.published import PublishedTable
from crbench.board.tables import Board
from crbench.files import write_text


def board_markdown(boards: Sequence[Board], published: Sequence[PublishedTable] = ()) -> str:
    """The whole board as Markdown; every definition stands under its table."""
    return page("leaderboard.md", boards=boards, published=published).rstrip("\n") + "\n"


_WRITERS = {"md": board_markdown, "csv": board_csv, "tex": board_latex, "html": board_page}
BOARD_FILES = tuple(f"leaderboard.{kind}" for kind in _WRITERS)


def write_boards(
    boards: Sequence[Board], published: Sequence[PublishedTable], out: Path
) -> list[Path]:
    """Write ``leaderboard.md``, ``.csv``, ``.tex`` and ``.html`` into ``out``, each atomically."""
    texts = [write(boards, published) for write in _WRITERS.values()]  # all before the first file
    for name, text in zip(BOARD_FILES, texts, strict=True):
        write_text(out / name, text)
    return [out / name for name in BOARD_FILES]
