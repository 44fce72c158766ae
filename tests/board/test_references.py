"""Probes stand in a table of their own; approximate rows are marked, apart and never bold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from crbench.board.rows import boards
from crbench.board.writers import board_markdown
from crbench.records import Record, read_record, write_record

PROBE = {
    "view": "uni", "classifier": "logistic regression", "n_train": 90, "n_query": 40,
    "n_classes": 19, "accuracy": None, "macro_f1": 0.5, "macro_map": 0.625,
}  # fmt: skip
APPROXIMATE = {
    "kind": "ivf",
    "parameters": {"ab": {"nlist": 9, "nprobe": 2}},
    "recall": {"ab": {"1": 0.99, "5": 0.9125}, "ba": {"1": 0.97, "5": 0.93}},
    "sample": 40,
}


def test_approximate_rows_are_marked_apart_and_never_bold(
    make_record: Callable[..., Record],
) -> None:
    records = [make_record("cr-jepa", 0.5), make_record("cr-jepa", 0.9, approximate=APPROXIMATE)]
    (board,) = boards(records)
    rows = {row.label: row for row in board.rows}
    row = rows["CR-JEPA (approximate, ivf)"]
    assert row.marks[0] == "approximate (ivf, recall 91.2 or more)"
    assert not row.sound
    assert {label for label, _, _ in board.best} == {"CR-JEPA"}
    assert any("FAISS index (ivf: ab nlist=9, nprobe=2)" in note for note in board.notes)
    assert "approximate (ivf" in board_markdown([board])
    assert not any("FAISS" in note for note in boards(records[:1])[0].notes)


def test_older_records_without_the_new_fields_are_read(
    make_record: Callable[..., Record], tmp_path: Path
) -> None:
    import json

    write_record(tmp_path / "r.json", make_record(approximate=APPROXIMATE, probe={"a": PROBE}))
    assert read_record(tmp_path / "r.json").approximate is not None
    old = json.loads((tmp_path / "r.json").read_text())
    for key in ("approximate", "probe", "devices", "memory"):
        del old[key]
    (tmp_path / "old.json").write_text(json.dumps(old))
    assert read_record(tmp_path / "old.json").probe is None
