"""What the demo shows once its runs are scored: the board, a grid, curves, and what to do next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from crbench.board.rows import boards, read_records
from crbench.board.tables import Board, print_boards
from crbench.board.writers import write_boards
from crbench.draw.curves import training_curves
from crbench.draw.grids import run_grid
from crbench.files import write_json
from crbench.words import DIRECTIONS

_DRAWN = "cr-jepa"  # the run whose retrievals are drawn

_NEXT = """
Written to {folder}:
  leaderboard.md, .html, …      the board; also .csv, .tex, .json
  grid.png                      CR-JEPA: queries and their top 5 in all four directions
  curves.png                    the losses over the epochs
  */record.json                 what each number was made from

Next:
  look at {folder}/grid.png
  change a choice and compare:
    crbench train cr-jepa ben-14k-twin-2 --scale tiny --cache {cache} \\
      --set model.mask_ratio=0.25 --out {folder}/mask-25
    crbench evaluate {folder}/mask-25
    crbench leaderboard --records {folder} --out {folder}
  see what else there is: crbench list
  real imagery: crbench cache build landsat7-pan-ms --source DIR
"""


def _flat_scores(tables: list[Board], synthetic: bool) -> list[dict[str, Any]]:
    """One object per method: ``method``, and ``scores[direction][metric]`` as fractions."""
    return [
        {
            "method": row.name,
            "kind": row.kind,
            "dataset": board.key.dataset,
            "synthetic": synthetic,
            "protocol": board.key.protocol,
            "scores": {
                direction: {
                    metric: cell and cell.mean
                    for (d, metric), cell in row.cells.items()
                    if d == direction
                }
                for direction in DIRECTIONS
            },
        }
        for board in tables
        for row in board.rows
    ]


def finish_demo(folder: Path) -> None:
    """Print the board of a demo's runs; write ``leaderboard.*``, a grid and the curves."""
    records = read_records([folder])
    tables = boards(records)
    write_boards(tables, [], folder)
    write_json(folder / "leaderboard.json", _flat_scores(tables, records[0].dataset.synthetic))
    trained = [folder / record.method.name for record in records if record.method.kind == "method"]
    cache = next(folder.glob("*.h5"))
    training_curves(sorted(set(trained)), folder / "curves.png")
    run_grid(folder / _DRAWN, folder / "grid.png", cache=cache)
    print_boards(tables)
    print(_NEXT.format(folder=folder, cache=cache))
