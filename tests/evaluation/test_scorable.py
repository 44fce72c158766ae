"""Embeddings of others: a run's numbers for a run's vectors, and nothing invented about them."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from crbench.board.board_data import board_csv, board_json
from crbench.board.rows import boards, read_records
from crbench.board.writers import board_markdown
from crbench.data.cache.reading import decode, open_cache
from crbench.embedding.embedder import embed_run
from crbench.errors import UserError
from crbench.evaluation.evaluate import evaluate
from crbench.records import Record, read_record
from crbench.run.opened import open_run
from crbench.scoring import metric_names
from crbench.words import KS

ROOT = Path(__file__).resolve().parents[2]
CARD = "ben-14k-twin"


@pytest.fixture
def vectors(twin_cache: Path) -> dict[str, np.ndarray]:
    """Noisy label vectors: both sides near each other where labels agree."""
    cache = open_cache(twin_cache)
    rng = np.random.default_rng(3)
    assert cache.labels is not None
    clean = cache.labels.astype(np.float32)
    noisy = {m: clean + rng.normal(0, s, clean.shape) for m, s in (("a", 0.3), ("b", 0.5))}
    return {"ids": cache.ids, **{m: x.astype(np.float32) for m, x in noisy.items()}}


def score(path: Path, cache: Path, **options: object) -> Record:
    return evaluate(path, dataset=CARD, cache=cache, quiet=True, **options)  # type: ignore[arg-type]


def test_a_runs_own_file_gives_the_runs_scores(
    trained_run: Path, twin_cache: Path, tmp_path: Path
) -> None:
    run = evaluate(trained_run, out=tmp_path / "run.json", quiet=True)
    file = tmp_path / "copy.h5"
    shutil.copy(embed_run(open_run(trained_run), quiet=True), file)
    by_file = score(file, twin_cache)
    assert by_file.scores == run.scores and by_file.serves == run.serves
    assert by_file.protocol == run.protocol and by_file.dataset == run.dataset
    assert by_file.training is None and run.training is not None


def test_an_outsiders_arrays_give_the_runs_scores_in_any_order(
    trained_run: Path, twin_cache: Path, tmp_path: Path
) -> None:
    """CR-JEPA's two heads, written as an outsider would: by direction and role, rows shuffled."""
    run = evaluate(trained_run, out=tmp_path / "run.json", quiet=True)
    with h5py.File(embed_run(open_run(trained_run), quiet=True)) as file:
        ids = decode(file["ids"][...])
        order = np.random.default_rng(0).permutation(len(ids))
        arrays = {"ids": ids[order]}
        for d in ("aa", "bb", "ab", "ba"):
            view = "uni" if d[0] == d[1] else "cross"
            for m, role in zip(d, ("query", "gallery"), strict=True):
                arrays[f"{d}/{role}"] = file[f"{m}/{view}"][...][order]
    np.savez(tmp_path / "x.npz", **arrays)
    record = score(tmp_path / "x.npz", twin_cache)
    assert record.scores == run.scores
    assert record.serves["ab"].query == "ab/query"


def test_the_record_invents_nothing(
    vectors: dict[str, np.ndarray], twin_cache: Path, tmp_path: Path
) -> None:
    np.savez(tmp_path / "mine.npz", **vectors)
    record = score(tmp_path / "mine.npz", twin_cache, name="Mine")
    assert read_record(tmp_path / "record-mine.json") == record
    assert (record.method.kind, record.method.title) == ("external", "Mine")
    assert record.training is None and "train_s" not in record.timings
    assert set(record.digests) == {"embeddings"}
    assert record.scores["ab"]["f1_item@5"].value > 0.5  # type: ignore[operator]
    for d, part in record.scores.items():
        assert list(part) == metric_names(d, "multi", (1, 5, 10, 20, 50, 100))
    assert KS == (1, 5, 10, 20, 50, 100)


def test_boards_show_every_file_in_a_row_of_its_own(
    trained_run: Path, vectors: dict[str, np.ndarray], twin_cache: Path, tmp_path: Path
) -> None:
    for scale in (1.0, 2.0):
        np.savez(tmp_path / f"v{scale:g}.npz", **{k: v if k == "ids" else v * np.float32(scale)
                                                  for k, v in vectors.items()})  # fmt: skip
        score(tmp_path / f"v{scale:g}.npz", twin_cache, name="Mine")
    evaluate(trained_run, out=tmp_path / "record-run.json", quiet=True)
    (board,) = boards(read_records([tmp_path]))
    kinds = [row.kind for row in board.rows]
    assert kinds == ["method", "external", "external", "chance"]
    assert all("embeddings of an external program" in row.marks for row in board.rows[1:3])
    text = board_markdown([board])
    assert text.count("| embeddings of an external program |") == 2 * len(board.metrics)
    assert "their training is not stated" in text and ",external," in board_csv([board])
    assert board_json([board])["boards"][0]["rows"][1]["seeds"] == []


def test_what_does_not_fit_is_refused(
    trained_run: Path, vectors: dict[str, np.ndarray], twin_cache: Path, tmp_path: Path
) -> None:
    file = tmp_path / "mine.npz"
    few = {k: v[: len(v) - 3] for k, v in vectors.items()}
    np.savez(file, **few)
    with pytest.raises(UserError, match=r"3 of the 40 items to score have no embedding"):
        score(file, twin_cache)
    with pytest.raises(UserError, match="does not say which dataset"):
        evaluate(file, quiet=True)
    with pytest.raises(UserError, match="no such run or file"):
        evaluate(tmp_path / "none.npz", dataset=CARD, quiet=True)
    with pytest.raises(UserError, match="--name is for files"):
        evaluate(trained_run, name="x", quiet=True)
    assert not list(tmp_path.glob("*.json"))


def test_an_out_that_cannot_be_written_is_refused_first(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("work was done before --out was tried")

    monkeypatch.setattr("crbench.evaluation.scorable.embed_run", never)
    (tmp_path / "file").write_text("")
    for out in (tmp_path, tmp_path / "file" / "r.json"):
        with pytest.raises(UserError, match="cannot write"):
            evaluate(trained_run, out=out, quiet=True)


def test_the_ten_lines_of_the_docs_write_a_file_that_is_scored(
    twin_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = re.findall(r"```python\n(.*?)```", (ROOT / "docs/embeddings.md").read_text(), re.S)[0]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    (tmp_path / "caches").mkdir()
    shutil.copy(twin_cache, tmp_path / "caches" / "ben-14k-twin.h5")
    monkeypatch.chdir(tmp_path)

    def embed(images: np.ndarray) -> np.ndarray:
        x = images.astype(np.float32)
        return np.stack([x[:, 0].mean((1, 2)), x[:, 1].mean((1, 2)), x[:, 0].std((1, 2))], 1)

    exec(code, {"embed": embed})
    assert set(score(tmp_path / "mine.npz", twin_cache).scores) == {"aa", "bb", "ab", "ba"}
