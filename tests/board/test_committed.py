"""The committed boards are those of the committed records, to the byte."""

from pathlib import Path

import pytest

from crbench.board.published import published_tables
from crbench.board.rows import boards, read_records
from crbench.board.writers import BOARD_FILES, write_boards
from crbench.cards import load_dataset
from crbench.study.cards import load_study, study_jobs
from crbench.study.pages import study_csv, study_markdown, study_title
from crbench.study.shelf import Shelf
from crbench.study.table import study_table

RESULTS = Path(__file__).resolve().parents[2] / "results"


def test_the_committed_boards_follow_from_the_committed_records(tmp_path: Path) -> None:
    records = read_records([RESULTS / "records"])
    assert len(records) >= 30
    write_boards(boards(records), published_tables(), tmp_path)
    assert len(BOARD_FILES) == 4
    for name in BOARD_FILES:
        assert (tmp_path / name).read_bytes() == (RESULTS / name).read_bytes(), "run `make board`"


def test_the_committed_records_show_what_the_text_beside_them_claims() -> None:
    """CR-JEPA's margins over its floors, from the records alone (means over the seeds)."""

    def mean(dataset: str, method: str, direction: str, metric: str) -> float:
        found = [
            record.scores[direction][metric].value  # type: ignore[index]
            for record in read_records([RESULTS / "records" / dataset / method])
            if record.protocol.name == load_dataset(dataset).protocol
        ]
        return sum(value for value in found if value is not None) / len(found)

    def across(method: str) -> float:
        return sum(mean("ben-14k-twin", method, d, "f1_item@5") for d in ("ab", "ba")) / 2

    assert across("cr-jepa") > across("random") + 0.25
    assert across("cr-jepa") > max(across("x-jepa"), across("rejepa"))
    assert across("x-jepa") > across("random") + 0.20
    for direction in ("aa", "bb"):
        floor = mean("ben-14k-twin", "random", direction, "f1_item@5")
        for method in ("cr-jepa", "x-jepa", "rejepa"):
            assert mean("ben-14k-twin", method, direction, "f1_item@5") > floor
    for dataset, metrics in (("landsat7-pan-ms", ("map", "p@5")), ("eurosat-wald", ("p@5",))):
        for direction in ("ab", "ba"):
            for metric in metrics:
                ours = mean(dataset, "cr-jepa", direction, metric)
                assert ours > mean(dataset, "cca", direction, metric)
    strong = (("s1s2-places", "pair_r@5"), ("landsat7-pan-ms", "p@5"), ("eurosat-wald", "map"))
    for dataset, metric in strong:  # what no trained method beats yet
        for direction in ("ab", "ba"):
            floor = mean(dataset, "kernel-cca", direction, metric)
            assert floor > mean(dataset, "cr-jepa", direction, metric)
            assert floor > mean(dataset, "x-jepa", direction, metric)


ABLATIONS = RESULTS / "ablations"
PAPER = ("table-s2a", "table-s2b", "table-3-mask", "table-s3", "table-s4", "table-s5")
STUDIES = [("ben-14k-twin", name, 3) for name in (*PAPER, "own-prediction")]
STUDIES += [("ben-14k-twin-2", "power", 5)]


@pytest.mark.parametrize(("dataset", "name", "seeds"), STUDIES)
def test_the_committed_ablations_follow_from_the_committed_records(
    dataset: str, name: str, seeds: int, tmp_path: Path
) -> None:
    folder = ABLATIONS / dataset
    card = load_dataset(dataset)
    shelf = Shelf(card).fill([folder / "records", RESULTS / "records"])
    nowhere = tmp_path / "runs"
    table = study_table(load_study(name), shelf, scale="tiny", seeds=seeds, root=nowhere)
    assert not [row.problem for row in table.rows if row.problem]
    assert {len(row.records) for row in table.rows} == {seeds}
    note = (folder / f"{name}.note.md").read_text(encoding="utf-8")
    assert len(note.split()) > 40, "a paragraph on what we make of it"
    assert "synthetic" in study_title(table)
    assert study_markdown(table, note) == (folder / f"{name}.md").read_text(encoding="utf-8")
    assert study_csv(table) == (folder / f"{name}.csv").read_text(encoding="utf-8")


@pytest.mark.parametrize("dataset", sorted({dataset for dataset, _, _ in STUDIES}))
def test_no_record_of_the_ablations_lies_unused(dataset: str) -> None:
    wanted = {
        job.record_name
        for place, name, seeds in STUDIES
        if place == dataset
        for job in study_jobs(load_study(name), dataset, "tiny", seeds)
    }
    there = {path.name for path in (ABLATIONS / dataset / "records").glob("*.json")}
    base = {job.record_name for job in study_jobs(load_study("table-1"), dataset, "tiny", 3)}
    assert there == wanted - base
