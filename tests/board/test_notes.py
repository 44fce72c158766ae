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


def test_a_loss_term_that_hardly_takes_part_is_marked(make_record: Make) -> None:
    """Below 1 % at every point and in every run; one point above it is enough to take part."""

    def run(seed: int, sig: float, pred: float) -> Record:
        record = make_record(seed=seed)
        shares = {"0": {"sig": 0.0012, "pred": 0.004}, "9": {"sig": sig, "pred": pred}}
        training = record.training.model_copy(update={"gradient_shares": shares})
        return record.model_copy(update={"training": training})

    (board,) = boards([run(0, 0.0034, 0.5), run(1, 0.002, 0.001)])
    (row,) = [row for row in board.rows if row.records]
    assert row.marks == ("sig ≤ 0.3 % of the gradient",)
    text = board_markdown([board])
    assert "sig ≤ 0.3 % of the gradient" in text and "says nothing of it" in text
    (plain,) = boards([make_record()])
    assert "of the gradient" not in board_markdown([plain])


def test_near_collapse_is_a_mark_with_its_reason(make_record: Make) -> None:
    reason = "ab query embeddings use little of their space: mean_cosine 0.95 is above 0.9"
    near = make_record(seed=1).model_copy(update={"health": {"narrow_reason": reason}})
    (board,) = boards([make_record(), near])
    (row,) = [row for row in board.rows if row.records]
    assert row.marks == ("near collapse (1 of 2)",) and row.sound
    assert reason in board_markdown([board])


def test_the_own_pair_and_the_default_are_named(make_record: Make) -> None:
    """Whether the pair stays, what leaves it out, and that a board is not the card's default."""
    stays = boards([make_record()])[0].notes[0]
    assert "its own pair stays in, which favours them; `--protocol leave-pair-out` leaves" in stays
    assert "This is the card's default." in stays
    record = make_record(protocol="leave-pair-out")
    data = record.model_dump()
    data["protocol"]["exclude"] = "pair"
    left = boards([Record.model_validate(data)])[0].notes[0]
    assert "own pair is left out of the gallery in all directions" in left
    assert "no pair recall" in left and "default is `leave-one-out`" in left
