"""Probes stand in a table of their own."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console

from crbench.board.board_data import board_csv
from crbench.board.rows import boards
from crbench.board.tables import print_boards
from crbench.board.writers import board_markdown
from crbench.records import Record

PROBE = {
    "view": "uni", "classifier": "logistic regression", "n_train": 90, "n_query": 40,
    "n_classes": 19, "accuracy": None, "macro_f1": 0.5, "macro_map": 0.625,
}  # fmt: skip


def test_probes_stand_in_a_table_of_their_own(make_record: Callable[..., Record]) -> None:
    bare = [make_record("random", 0.2), make_record("cr-jepa", 0.5, seed=0)]
    plain = board_markdown(boards(bare))
    assert "Supervised reference" not in plain
    probed = [
        make_record("cr-jepa", 0.5, seed=seed, probe={"a": PROBE | {"macro_f1": f1}, "b": PROBE})
        for seed, f1 in ((0, 0.5), (1, 0.6))
    ]
    board = boards([bare[0], *probed])
    text = board_markdown(board)
    table = text.split("### Supervised reference: linear probe, not retrieval\n")[1].split("\n\n")[
        0
    ]
    assert "| method | S1 macro-F1 | S1 macro mAP | S2 macro-F1 | S2 macro mAP |" in table
    assert "| CR-JEPA | 55.0 ± 7.1 | 62.5 ± 0.0 | 50.0 ± 0.0 | 62.5 ± 0.0 |" in table
    assert "Random encoder" not in table
    assert "training pairs, judged on the 40 queries" in text
    assert board_csv(board) == board_csv(boards([bare[0], *(_without(r) for r in probed)]))
    console = Console(width=120, record=True, quiet=True)
    print_boards(board, console=console)


def _without(record: Record) -> Record:
    return record.model_copy(update={"probe": None})
