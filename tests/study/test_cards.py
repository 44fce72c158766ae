"""Study cards: what they ask for, and the runs that follow from them."""

from __future__ import annotations

from pathlib import Path

import pytest

from crbench.board.published import printed
from crbench.cards import load_method, names
from crbench.errors import UserError
from crbench.study.cards import STUDIES, load_study, option_words, row_jobs, study_jobs

TINY = ("table-s2a", "table-s2b", "table-3-mask", "table-s3", "table-s4", "table-s5")
STUDY = """
name = "small"
title = "Two rows"
table = "Table 0"
question = "Which is better?"
datasets = ["ben-14k"]
published = "table-s2a.csv"
reference = "plain"

[[rows]]
name = "plain"

[[rows]]
name = "other"
set = ["loss.uni=0.0"]
"""


def test_every_card_is_found_and_its_rows_resolve() -> None:
    expected = {"cost", "table-1", "table-2", "table-3-mask", "table-3-depth", "table-s2a"}
    expected |= {"table-s2b", "table-s3", "table-s4", "table-s5", "own-prediction", "power"}
    assert set(names(STUDIES)) == expected
    for name in expected:
        study = load_study(name)
        assert study.name == name
        for row in study.rows:
            for scale in ("paper", "tiny"):
                load_method(row.method, scale=scale, overrides=row.set)


@pytest.mark.parametrize("name", sorted(set(names(STUDIES)) - {"cost", "own-prediction", "power"}))
def test_each_row_finds_its_published_line(name: str) -> None:
    study = load_study(name)
    for row in study.rows:
        for dataset in study.datasets:
            lines = printed(row.published or study.published, dataset, row.printed, row.name)
            metrics = {line.metric for line in lines}
            assert len(lines) == len(metrics)
            if not row.printed:  # floors, which no paper prints
                assert row.method in ("random", "band-stats", "cca") and not lines
            else:
                assert metrics == ({"map", "p@5"} if name == "table-2" else metrics) and lines
                assert all(line.values["ab"] for line in lines)


def test_the_tables_of_the_twin_are_22_distinct_cards() -> None:
    cards = {
        job.card.digest
        for name in TINY
        for job in study_jobs(load_study(name), "ben-14k-twin", "tiny", 1)
    }
    assert len(cards) == 22


def test_runs_are_distinct_and_come_seed_by_seed() -> None:
    jobs = study_jobs(load_study("table-3-mask"), "ben-14k-twin", "tiny", 2)
    assert [(job.row[-4:], job.seed) for job in jobs] == [
        ("0.25", 0), ("0.50", 0), ("0.75", 0), ("0.25", 1), ("0.50", 1), ("0.75", 1),
    ]  # fmt: skip
    assert (
        len(study_jobs(load_study("table-1"), "ben-14k-twin", "tiny", 3)) == 4 * 3 + 2
    )  # closed forms


def test_overrides_reach_all_rows_but_the_floors() -> None:
    jobs = study_jobs(load_study("table-1"), "ben-14k-twin", "tiny", 1, ["train.epochs=3"])
    assert {job.row: job.card.train.epochs for job in jobs} == {
        "REJEPA": 3, "X-JEPA": 3, "CR-JEPA": 3, "random encoder": 0, "band statistics": 0, "CCA": 0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("key", "changed", "message"),
    [
        ('reference = "plain"', 'reference = "plane"', "reference 'plane' is not among the rows"),
        ("question =", "qestion =", "unknown key 'qestion'"),
        ('name = "other"', 'name = "plain"', "row names repeat"),
        ('name = "small"', 'name = "../small"', "name: "),
    ],
)
def test_a_bad_study_card_names_its_key(
    tmp_path: Path, key: str, changed: str, message: str
) -> None:
    path = tmp_path / "small.toml"
    path.write_text(STUDY.replace(key, changed))
    with pytest.raises(UserError, match=message):
        load_study(str(path))


def test_runs_of_a_dataset_file_lie_under_its_name(tmp_path: Path) -> None:
    card = tmp_path / "mine.toml"
    card.write_text('extends = "ben-14k"\nname = "mine"\n')
    (job,) = row_jobs(load_study("table-s2a").rows[0], str(card), "tiny", 1)
    assert job.dataset == str(card)
    assert job.folder() == Path("runs/ablations/mine") / job.label / "seed0"


def test_options_as_words() -> None:
    options = {
        "--a": 0,
        "--b": None,
        "--c": "",
        "--d": False,
        "--e": True,
        "--f": ["x", 2],
        "-g": [],
    }
    assert option_words(options) == ["--a", "0", "--e", "--f", "x", "--f", "2"]


def test_a_dataset_that_no_table_knows_has_no_published_column() -> None:
    study = load_study("table-2")
    assert study.benchmark("landsat7-pan-ms") is None
    assert study.benchmark("dsrsid-twin") == "dsrsid"
    assert load_study("table-s3").benchmark("ben-14k-twin") == "ben-14k"
