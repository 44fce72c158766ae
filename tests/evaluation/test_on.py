"""A run scored on another set: bands by name, its normalisation, files and rows of their own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from typer.testing import CliRunner

from crbench.board.rows import boards
from crbench.board.writers import board_markdown
from crbench.cards import load_dataset
from crbench.cli import app
from crbench.data.cache.build import build_cache
from crbench.data.cache.reading import open_cache
from crbench.errors import UserError
from crbench.evaluation.evaluate import evaluate
from crbench.files import sha256_file
from crbench.records import Record, read_record
from crbench.run.folder import RunFolder
from crbench.study.commands import record_steps
from crbench.study.shelf import Shelf

COUNTS = {"train": 96, "val": 24, "test": 40}
SIZES = [f"source.splits.{name}={count}" for name, count in COUNTS.items()]
OTHER = "ben-14k-twin-2"


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("on")
    return build_cache(load_dataset(OTHER, overrides=SIZES), folder / "other.h5", quiet=True)


def like(tmp_path: Path, **changes: Any) -> tuple[str, Path]:
    """A card of the first twin with changes to its tables, and its cache."""
    table = load_dataset("ben-14k-twin", overrides=SIZES).to_dict() | {"name": "mine"}
    for key, change in changes.items():
        table[key] = table[key] | change if isinstance(change, dict) else change
    path = tmp_path / "mine.toml"
    path.write_text(tomli_w.dumps(table), encoding="utf-8")
    return str(path), build_cache(load_dataset(str(path)), tmp_path / "mine.h5", quiet=True)


def test_the_record_names_both_sets_and_touches_nothing_of_the_runs_own(
    trained_run: Path, other: Path
) -> None:
    own = evaluate(trained_run, quiet=True)
    folder = RunFolder(trained_run)
    before = sha256_file(folder.embeddings), sha256_file(folder.record)
    record = evaluate(trained_run, on=OTHER, cache=other, quiet=True)
    assert (record.dataset.name, record.trained_on.name) == (OTHER, "ben-14k-twin")
    assert record.dataset.cache_digest == open_cache(other).digest
    assert record.trained_on.cache_digest == own.dataset.cache_digest
    assert record.training == own.training and own.trained_on is None
    assert read_record(trained_run / f"record-on-{OTHER}.json") == record
    assert (trained_run / f"embeddings-on-{OTHER}.h5").is_file()
    assert before == (sha256_file(folder.embeddings), sha256_file(folder.record))
    assert record.ceiling is not None and own.ceiling is None  # of the set that is scored


def test_on_its_own_set_it_is_the_runs_own_score(
    trained_run: Path, twin_cache: Path, tmp_path: Path
) -> None:
    own = evaluate(trained_run, out=tmp_path / "own.json", quiet=True)
    again = evaluate(
        trained_run, on="ben-14k-twin", cache=twin_cache, out=tmp_path / "on.json", quiet=True
    )
    assert again.scores == own.scores


def test_bands_are_found_by_name_and_the_trainings_statistics_normalise(
    trained_run: Path, tmp_path: Path
) -> None:
    """The same scenes with the radar bands the other way round, and statistics of other splits."""
    own = evaluate(trained_run, out=tmp_path / "own.json", quiet=True)
    swapped = {"bands": ["VH", "VV"], "mean": [-19.0, -12.0], "std": [5.0, 5.0]}
    card, cache = like(tmp_path, train_splits=["val"], a=swapped)
    record = evaluate(trained_run, on=card, cache=cache, out=tmp_path / "on.json", quiet=True)
    assert record.modalities["a"].bands == ["VV", "VH"]
    for direction, scores in own.scores.items():  # intervals are drawn by the cache's digest
        assert {name: cell.value for name, cell in record.scores[direction].items()} == {
            name: cell.value for name, cell in scores.items()
        }


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        (
            {"a": {"units": "linear power"}},
            "trained on a in 'dB', mine holds 'linear power'",
        ),
        (
            {"b": {"bands": ["B02"], "display": ["B02"], "mean": [1.0], "std": [1.0]}},
            "mine has no B01, B03",
        ),
    ],
)
def test_other_units_and_missing_bands_are_refused(
    trained_run: Path, tmp_path: Path, changes: dict[str, Any], match: str
) -> None:
    card, cache = like(tmp_path, **changes)
    with pytest.raises(UserError, match=match):
        evaluate(trained_run, on=card, cache=cache, quiet=True)
    assert not (trained_run / "record-on-mine.json").exists()


def test_a_row_says_what_it_was_trained_on_and_joins_no_other(
    trained_run: Path, other: Path, tmp_path: Path
) -> None:
    record = evaluate(trained_run, on=OTHER, cache=other, out=tmp_path / "r.json", quiet=True)
    home = record.model_copy(update={"trained_on": None})
    (board,) = boards([record, home])
    labels = [row.label for row in board.rows if row.records]
    assert len(labels) == 2 and sum("trained on BEN-14K twin (synthetic)" in x for x in labels) == 1
    assert "trained on BEN-14K twin" in board_markdown([board])
    (tmp_path / "shelf").mkdir()
    (tmp_path / "r.json").rename(tmp_path / "shelf" / "r.json")
    card = load_dataset(OTHER, overrides=SIZES)
    assert not Shelf(card).fill([tmp_path / "shelf"]).records


def test_its_commands_train_on_one_set_and_score_on_the_other(
    trained_run: Path, other: Path, tmp_path: Path
) -> None:
    record = evaluate(trained_run, on=OTHER, cache=other, out=tmp_path / "r.json", quiet=True)
    builds = record_steps(record)
    assert [step[3] for step in builds[:2]] == ["ben-14k-twin", OTHER]
    train, score = builds[2], builds[-1]
    assert train[3] == "ben-14k-twin" and score[score.index("--on") + 1] == OTHER
    assert score[score.index("--cache") + 1] == builds[1][builds[1].index("--out") + 1]


def test_old_records_have_no_other_set(make_record: Callable[..., Record]) -> None:
    assert make_record().trained_on is None


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (["--on", "nowhere"], "unknown dataset 'nowhere'"),
        (["--on", OTHER, "--probe"], "trained on the run's own set"),
        (["--on", OTHER, "--compare", "x"], "does not go with --compare"),
    ],
)
def test_what_does_not_go_with_it(trained_run: Path, words: list[str], match: str) -> None:
    done = CliRunner().invoke(app, ["evaluate", str(trained_run), *words])
    assert done.exit_code == 2 and match in " ".join(done.output.split()), done.output
