"""The tables that lie in a folder, made again: those of the paper first, each with its note."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from crbench.errors import UserError
from crbench.study.pages import study_csv
from crbench.study.written import written_studies

RESULTS = Path(__file__).resolve().parents[2] / "results"
TWIN = RESULTS / "ablations" / "ben-14k-twin"


def test_committed_tables_are_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "ben-14k-twin"
    shutil.copytree(TWIN / "records", folder / "records")
    for name in ("own-prediction.csv", "table-s5.csv", "table-s5.note.md"):
        shutil.copy(TWIN / name, folder / name)
    (table, note), (own, nothing) = written_studies(tmp_path, RESULTS / "records")
    assert [table.study.name, own.study.name] == ["table-s5", "own-prediction"]
    assert note == (TWIN / "table-s5.note.md").read_text(encoding="utf-8") and nothing == ""
    for made in (table, own):
        assert study_csv(made) == (TWIN / f"{made.study.name}.csv").read_text(encoding="utf-8")


def test_a_folder_without_tables_has_none(tmp_path: Path) -> None:
    assert written_studies(tmp_path / "nowhere", RESULTS / "records") == []


@pytest.mark.parametrize("text", ["", "a,b\n1,2\n", "study,dataset,scale,n\n"])
def test_another_csv_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine.csv").write_text(text)
    with pytest.raises(UserError, match="not a table of `crbench ablate`"):
        written_studies(tmp_path, RESULTS / "records")
