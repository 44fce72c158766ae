"""Boards: arithmetic by hand, what shares a board or a row, marks, and bytes that do not move."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from crbench.board.published import published_tables
from crbench.board.rows import boards, flatten, read_records
from crbench.board.tables import average
from crbench.board.writers import BOARD_FILES, board_markdown, write_boards
from crbench.errors import UserError
from crbench.records import Record, write_record

F1 = "f1_item@5"
Make = Callable[..., Record]


def test_mean_and_sd_over_seeds_and_the_mean_interval(make_record: Make) -> None:
    runs = [make_record(value=v, seed=s, spread=v / 10) for s, v in enumerate((0.5, 0.6, 0.7))]
    (board,) = boards(runs)
    row = board.rows[0]
    cell = row.cells["ab", F1]
    assert cell is not None
    assert row.n == cell.n == 3
    assert cell.mean == pytest.approx(0.6)
    assert cell.sd == pytest.approx(0.1)  # sample sd of 0.5, 0.6, 0.7
    assert (cell.low, cell.high) == (pytest.approx(0.54), pytest.approx(0.66))
    assert "60.0 ± 10.0" in board_markdown([board])


def test_one_run_has_no_sd(make_record: Make) -> None:
    (board,) = boards([make_record(value=0.5)])
    cell = board.rows[0].cells["ab", F1]
    assert cell is not None and cell.sd is None
    assert "±" not in board_markdown([board]).split("### ")[1].split("\n- ")[0]


def test_average_over_the_four_directions(make_record: Make) -> None:
    (board,) = boards([make_record(values={"aa": 0.1, "bb": 0.2, "ab": 0.3, "ba": 0.6})])
    assert average(board.rows[0], F1) == pytest.approx(0.3)


def test_a_repeated_seed_counts_once_and_the_newest_run_counts(make_record: Make) -> None:
    old = make_record(value=0.9, created="2026-01-01T00:00:00Z")
    new = make_record(value=0.4, created="2026-01-03T00:00:00Z")
    (board,) = boards([old, new])
    assert board.rows[0].n == 1
    assert board.rows[0].cells["aa", F1].mean == pytest.approx(0.4)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "change", [{"cache": "d" * 64}, {"protocol": "csmae"}, {"dataset": "ben-14k"}]
)
def test_other_data_or_protocol_is_another_board(make_record: Make, change: dict[str, str]) -> None:
    assert len(boards([make_record(), make_record(seed=1)])) == 1
    assert len(boards([make_record(), make_record(seed=1, **change)])) == 2


def test_other_cards_are_other_rows_and_the_label_says_what_differs(make_record: Make) -> None:
    runs = [make_record(), make_record(overrides=("model.mask_ratio=0.25",), value=0.3)]
    (board,) = boards(runs)
    labels = [row.label for row in board.rows]
    assert "CR-JEPA (model.mask_ratio=0.25)" in labels
    assert "CR-JEPA (model.mask_ratio=0.5)" in labels


def test_order_is_methods_from_the_best_then_floors_then_chance(make_record: Make) -> None:
    runs = [
        make_record("random", 0.95),
        make_record("x-jepa", 0.4),
        make_record("cr-jepa", 0.6),
        make_record("cca", 0.5),
    ]
    (board,) = boards(runs)
    assert [row.name for row in board.rows] == ["cr-jepa", "x-jepa", "random", "cca", "chance"]
    assert "(floor)" in board_markdown([board])
    assert average(board.rows[-1], F1) == pytest.approx(0.1)


def test_epochs_are_named_only_where_a_row_has_them(make_record: Make) -> None:
    """A method and embeddings of the same name whose training is not stated."""
    run = make_record().model_dump()
    run["training"] = None
    run["method"]["kind"] = "external"
    del run["method"]["card"]["train"]
    (board,) = boards([make_record(), Record.model_validate(run)])
    labels = {row.kind: row.label for row in board.rows}
    assert labels["method"].endswith(" epochs)") and not labels["external"].endswith(" epochs)")
    assert not any("train.epochs" in label for label in labels.values())


def test_bold_is_the_best_sound_row_of_each_column(make_record: Make) -> None:
    runs = [
        make_record("cr-jepa", 0.6, values={"ab": 0.2}),
        make_record("x-jepa", 0.4),
        make_record("rejepa", 0.9, collapsed=True),
    ]
    (board,) = boards(runs)
    assert ("CR-JEPA", "aa", F1) in board.best
    assert ("X-JEPA", "ab", F1) in board.best
    assert not any(label == "REJEPA" for label, _, _ in board.best)
    lines = {line.split(" |")[0]: line for line in board_markdown([board]).splitlines()}
    assert lines["| CR-JEPA"].count("**") == 2 * 3 and lines["| X-JEPA"].count("**") == 2
    assert "**" not in lines["| REJEPA"]


def test_collapsed_and_unfinished_rows_are_marked(make_record: Make) -> None:
    dead = make_record("rejepa", 0.1, collapsed=True, reason="feature std is 0.0001")
    cut = make_record("x-jepa", 0.3, epochs_done=2)
    (board,) = boards([dead, cut, make_record()])
    marks = {row.name: row.marks for row in board.rows}
    assert marks["rejepa"][0] == "collapsed (1 of 1)"
    assert marks["x-jepa"][0].startswith("unfinished (1 of 1; 2 of ")
    assert marks["cr-jepa"] == ()
    text = board_markdown([board])
    assert "feature std is 0.0001" in text and "unfinished: training stopped" in text


def test_a_method_at_its_floor_is_marked(make_record: Make) -> None:
    floor = make_record("random", 0.30)
    same = make_record("rejepa", 0.31)  # intervals ± 0.01: a standard error of .7 points
    partly = make_record("cr-jepa", 0.60, values={"aa": 0.25})
    (board,) = boards([floor, same, partly])
    rows = {row.name: row for row in board.rows}
    assert "not above its floor" in rows["rejepa"].marks
    assert rows["cr-jepa"].at_floor == {("aa", F1)} and rows["cr-jepa"].marks == ()
    assert not rows["random"].at_floor
    assert "25.0°" in board_markdown(
        [board]
    ) and "not shown to be above the untrained" in board_markdown([board])


def test_published_rows_never_share_a_table_with_measured_ones(make_record: Make) -> None:
    text = board_markdown(boards([make_record(dataset="ben-14k")]), published_tables())
    tables = [part for part in text.split("\n\n") if part.startswith("| method")]
    kinds = [("comparable" in table, "± " in table or "/ 0.60" in table) for table in tables]
    assert (True, False) in kinds and (False, True) in kinds and (True, True) not in kinds


def test_the_newest_run_counts_whatever_its_file_is_called(
    make_record: Make, tmp_path: Path
) -> None:
    write_record(tmp_path / "a.json", make_record(value=0.4, created="2026-01-03T00:00:00Z"))
    write_record(tmp_path / "b.json", make_record(value=0.9, created="2026-01-01T00:00:00Z"))
    (board,) = boards(read_records([tmp_path]))
    assert average(board.rows[0], F1) == pytest.approx(0.4)


def test_bytes_do_not_move_with_the_order_of_files(make_record: Make, tmp_path: Path) -> None:
    runs = [make_record(m, 0.3 + s / 100, seed=s) for m in ("cr-jepa", "x-jepa") for s in range(3)]
    written = []
    for turn in range(3):
        random.Random(turn).shuffle(runs)
        folder = tmp_path / str(turn)
        for number, run in enumerate(runs):
            write_record(folder / "records" / f"{turn}-{number}.json", run)
        write_boards(boards(read_records([folder / "records"])), published_tables(), folder)
        written.append([(folder / name).read_bytes() for name in BOARD_FILES])
    assert written[0] == written[1] == written[2]


def test_undefined_values_are_dashes(make_record: Make) -> None:
    run = make_record()
    nothing = {"value": None, "low": None, "high": None}
    scores = {d: {F1: nothing} for d in ("aa", "bb", "ab", "ba")}
    blank = Record.model_validate(run.model_dump() | {"scores": scores})
    (board,) = boards([blank])
    assert board.rows[0].cells["aa", F1] is None
    assert "| CR-JEPA | – | – | – | – | – | 1 |" in board_markdown([board])


def test_runs_folders_give_their_records_only(make_record: Make, tmp_path: Path) -> None:
    write_record(tmp_path / "a" / "record.json", make_record())
    (tmp_path / "a" / "run.json").write_text("{}")
    assert len(read_records([tmp_path])) == 1
    with pytest.raises(UserError, match="no such record"):
        read_records([tmp_path / "nothing"])


def test_a_file_that_is_no_record_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text('{"hello": 1}')
    with pytest.raises(UserError, match="not a crbench record") as caught:
        read_records([tmp_path])
    assert "x.json" in str(caught.value)


def test_flatten() -> None:
    assert flatten({"a": 1, "b": {"c": {"d": 2}}}) == {"a": 1, "b.c.d": 2}


def test_a_method_is_held_against_its_own_untrained_encoder_where_there_is_one(
    make_record: Make,
) -> None:
    """Far above the random row, and level with its own encoder before any training."""
    trained = make_record("rejepa", 0.61)
    start = make_record("rejepa", 0.60, overrides=("train.epochs=0",), epochs_done=0)
    floor = make_record("random", 0.30)
    alone = next(row for row in boards([trained, floor])[0].rows if row.name == "rejepa")
    assert not alone.at_floor
    rows = [row for row in boards([trained, start, floor])[0].rows if row.name == "rejepa"]
    by_epochs = {row.records[0].training.epochs: row for row in rows}  # type: ignore[union-attr]
    assert not by_epochs.pop(0).at_floor
    (row,) = by_epochs.values()
    assert len(row.at_floor) == 4 and "not above its floor" in row.marks


def test_many_tests_of_one_table_ask_for_more(make_record: Make) -> None:
    """p = .034 alone (standard errors of .51 points, 1.53 apart): four directions are four."""
    floor = make_record("random", 0.3)
    method = make_record("cr-jepa", 0.9, values={"aa": 0.3153})
    assert ("aa", F1) not in _marked([floor, method])  # the last of four: times one
    again = make_record("cr-jepa", 0.3153)
    assert len(_marked([floor, again])) == 4  # .034 × 4 is above .05


def _marked(runs: list[Record]) -> frozenset[tuple[str, str]]:
    return next(row for row in boards(runs)[0].rows if row.name == "cr-jepa").at_floor


def test_a_board_states_what_it_can_tell(make_record: Make) -> None:
    """sd 1 point, three seeds a row: 4 degrees of freedom, 3.8 errors of .816 points (tables)."""
    runs = [make_record(value=v, seed=s) for s, v in enumerate((0.49, 0.50, 0.51))]
    (board,) = boards(runs)
    (note,) = [text for text in board.notes if text.startswith("Power, ")]
    assert "3.1 points between trainings (3 seeds a row)" in note
    assert "2.0 points between queries" in note  # 2.80 × √2 × 1 / 1.96
