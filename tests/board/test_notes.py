"""The sentences under a board, read from its records."""

from __future__ import annotations

from collections.abc import Callable

from crbench.board.rows import boards
from crbench.board.writers import board_markdown
from crbench.records import Record

Make = Callable[..., Record]


def test_every_definition_stands_under_the_table(make_record: Make) -> None:
    (board,) = boards([make_record()])
    text = board_markdown([board])
    assert board.title.startswith("BEN-14K twin (synthetic) · S1 / S2 · protocol leave-one-out")
    for piece in (
        "queries = test (40 items), gallery = test (41 items)",
        "In S1→S1 and S2→S2 the query itself is left out",
        "its own pair stays in",
        "F1 of each (query, item), mean over the top 5",
        "Ties: expected over random order",
        "1,000 resamples",
        "S1→S1, S2→S2 by uni; S1→S2 by cross; S2→S1 by predicted against cross",
        "1.25 / 0.60",
    ):
        assert piece in text, piece


def test_a_gallery_with_training_pairs_is_said(make_record: Make) -> None:
    (board,) = boards([make_record(dataset="dsrsid-twin", protocol="split")])
    assert "The gallery holds the training pairs (train)" in board_markdown([board])
    assert "left out of the gallery" not in board_markdown([board])  # no query is in this gallery
    assert "### mAP, measured" in board_markdown([board]) and "### P@5, measured" in board_markdown(
        [board]
    )
