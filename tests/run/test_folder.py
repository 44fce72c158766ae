"""A run's folder: what it is called, what is said of one that is not there, finished or whole."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from crbench.errors import UserError
from crbench.files import append_jsonl, sha256_file
from crbench.run.folder import RunFolder, RunInfo, default_run, differing, nearby


@pytest.fixture
def begun(trained_run: Path, tmp_path: Path) -> RunFolder:
    """A run whose training has not ended, with two epochs done."""
    folder = RunFolder(tmp_path / "begun")
    folder.path.mkdir()
    folder.write(RunFolder(trained_run).read().model_copy(update={"finished": False}))
    for epoch in (1, 2):
        append_jsonl(folder.metrics, {"epoch": epoch})
    return folder


def test_a_run_goes_to_its_usual_place() -> None:
    assert default_run("ben", "cca", "paper", 3) == Path("runs/ben/cca/seed3")
    assert default_run("ben", "cca", "tiny", 0) == Path("runs/ben/cca@tiny/seed0")


def test_best_weights_have_files_of_their_own() -> None:
    last, best = RunFolder(Path("r")), RunFolder(Path("r"), "best")
    names = ("weights.safetensors", "embeddings.h5", "index")
    assert tuple(p.name for p in (last.weights, last.embeddings, last.index)) == names
    assert tuple(p.name for p in (best.weights, best.embeddings, best.index)) == (
        "weights-best.safetensors", "embeddings-best.h5", "index-best",
    )  # fmt: skip
    for name in ("info_path", "metrics", "checkpoint", "record"):
        assert getattr(last, name) == getattr(best, name)


def test_a_statement_is_read_as_it_was_written(begun: RunFolder) -> None:
    info = begun.read()
    assert begun.exists() and isinstance(info, RunInfo) and not info.finished
    assert info.method_card.name == "cr-jepa" and info.dataset_card.name == "ben-14k-twin"
    begun.write(info.model_copy(update={"seed": 9}))
    assert begun.read().seed == 9


def test_a_folder_that_is_not_there_names_runs_near_it(trained_run: Path, tmp_path: Path) -> None:
    seed = tmp_path / "runs" / "ben" / "cca" / "seed0"
    seed.mkdir(parents=True)
    shutil.copy(trained_run / "run.json", seed / "run.json")
    wrong = seed.with_name("seed1")
    assert nearby(wrong) == [str(seed)]
    with pytest.raises(UserError, match="no such run folder") as caught:
        RunFolder(wrong).read()
    assert caught.value.where == str(wrong) and caught.value.fix == f"runs near it: {seed}"
    with pytest.raises(UserError, match=r"not a run: it has no run\.json"):
        RunFolder(tmp_path).read()
    assert not RunFolder(tmp_path).exists()


def test_runs_near_the_usual_place_are_found(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert nearby(Path("runs/ben/cca/seed0")) == []
    for seed in range(7):
        (tmp_path / default_run("ben", "cca", "tiny", seed)).mkdir(parents=True)
        shutil.copy(trained_run / "run.json", default_run("ben", "cca", "tiny", seed))
    found = nearby(Path("ben/cca@tiny/seed3"))
    assert len(found) == 5 and found[0] == "runs/ben/cca@tiny/seed3"


def test_only_a_finished_run_with_its_weights_is_finished(begun: RunFolder) -> None:
    with pytest.raises(UserError, match=r"not finished training \(2 epochs done\)"):
        begun.finished()
    begun.write(begun.read().model_copy(update={"finished": True}))
    with pytest.raises(UserError, match=r"weights\.safetensors is missing"):
        begun.finished()
    begun.weights.write_bytes(b"w")
    assert begun.finished() == begun.read()
    with pytest.raises(UserError, match="kept no best weights"):
        RunFolder(begun.path, "best").finished()
    with pytest.raises(UserError, match="'bst'") as caught:
        RunFolder(begun.path, "bst").finished()
    assert caught.value.where == "--weights" and "'best'" in (caught.value.fix or "")


def test_digests_are_of_the_weights_that_are_there(begun: RunFolder) -> None:
    assert begun.digests() == {}
    begun.weights.write_bytes(b"last")
    assert begun.digests() == {"last": sha256_file(begun.weights)}
    RunFolder(begun.path, "best").weights.write_bytes(b"best")
    assert set(begun.digests()) == {"last", "best"}
    assert begun.digests()["last"] != begun.digests()["best"]


def test_a_statement_that_is_damaged_is_named(begun: RunFolder) -> None:
    begun.info_path.write_text('{"format": 1}')
    with pytest.raises(UserError) as caught:
        begun.read()
    assert "run.json" in str(caught.value)


def test_tables_differ_by_their_keys() -> None:
    before = {"train": {"epochs": 60, "lr": 1.0}, "loss": {"a": 1}, "same": [1]}
    after = {"train": {"epochs": 4, "lr": 1.0}, "loss": 3, "same": [1], "new": {"x": 2}}
    assert differing(before, after) == [
        "train.epochs: 60, not 4", "loss: {'a': 1}, not 3", "new: None, not {'x': 2}",
    ]  # fmt: skip
    assert differing(before, before) == []
