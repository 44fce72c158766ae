"""Evaluation: the record says what was scored and how, and refuses what does not fit."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from typer.testing import CliRunner

from crbench import train
from crbench.board.notes import protocol_note
from crbench.cards import load_dataset
from crbench.cli import app
from crbench.data.cache import build
from crbench.data.cache.reading import decode, open_cache
from crbench.data.sources import open_source
from crbench.embedding import file as embedding_file
from crbench.errors import UserError
from crbench.evaluation.evaluate import evaluate, query_and_gallery
from crbench.evaluation.recorded import EvaluatedRun
from crbench.records import read_record
from crbench.run import opened

SMALL = [f"source.splits.{name}={size}" for name, size in (("train", 20), ("val", 5), ("test", 20))]


def test_the_record_reads_back_equal(trained_run: Path, tmp_path: Path) -> None:
    record = evaluate(trained_run, out=tmp_path / "record.json", quiet=True)
    assert read_record(tmp_path / "record.json") == record
    assert record.protocol.n_query == record.protocol.n_gallery == 40
    assert record.dataset.synthetic
    assert record.serves["aa"].query == "uni"
    assert record.serves["ab"].gallery == "cross"
    for direction in ("aa", "bb", "ab", "ba"):
        found = record.scores[direction]["f1_item@5"]
        assert found.low is not None and found.high is not None and found.value is not None
        assert 0 <= found.low <= found.value <= found.high <= 1
    assert record.training.params_total > record.training.params_inference > 0


def test_what_is_no_run_is_refused(tmp_path: Path, trained_run: Path) -> None:
    with pytest.raises(UserError, match="no such run"):
        evaluate(tmp_path / "none", quiet=True)
    with pytest.raises(UserError, match="not a run"):
        evaluate(tmp_path, quiet=True)
    with pytest.raises(UserError, match="leave-one-ot"):
        evaluate(trained_run, protocol="leave-one-ot", quiet=True)


def test_a_model_of_one_modality_is_scored_in_its_own_direction(
    twin_cache: Path, tmp_path: Path
) -> None:
    one = ["model.modalities=b"]
    out = tmp_path / "rejepa"
    train(
        "rejepa", "ben-14k-twin", scale="tiny", epochs=1, overrides=one, cache=twin_cache,
        out=out, quiet=True,
    )  # fmt: skip
    assert set(evaluate(out, quiet=True).scores) == {"bb"}


def test_another_protocol_leaves_the_default_record_alone(trained_run: Path) -> None:
    evaluate(trained_run, quiet=True)
    before = (trained_run / "record.json").read_bytes()
    record = evaluate(trained_run, protocol="csmae", quiet=True)
    assert (record.protocol.n_query, record.protocol.n_gallery) == (24, 40)
    assert (trained_run / "record.json").read_bytes() == before
    assert read_record(trained_run / "record-csmae.json") == record


def test_the_spatial_protocol_leaves_the_place_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against numpy on the run's own embeddings; a cache without places is refused."""
    card = load_dataset("ben-14k-twin", overrides=SMALL)
    source = open_source(card)
    places = [f"34T{k % 5}" for k in range(len(source.ids))]
    groups = [f"{place}/2017080{k % 3}" for k, place in enumerate(places)]
    known = dataclasses.replace(source, groups=groups)
    monkeypatch.setattr(build, "open_source", lambda *_: known)
    cache = build.build_cache(card, tmp_path / "c.h5", quiet=True)
    run = train("cca", "ben-14k-twin", scale="tiny", cache=cache, out=tmp_path / "run", quiet=True)
    record = evaluate(run, protocol="spatial", quiet=True)
    assert record.protocol.exclude == "place"
    assert record.protocol.groups == open_cache(cache).array_digests["groups"]
    assert read_record(run / "record-spatial.json") == record
    data = open_cache(cache)
    rows = data.rows(["test"])
    with h5py.File(run / "embeddings.h5") as file:
        at = {name: k for k, name in enumerate(decode(file["ids"][...]))}
        order = [at[name] for name in data.ids[rows]]
        views = {m: next(iter(file[m].values()))[...][order] for m in "ab"}
    relevant = (data.labels[rows].astype(int) @ data.labels[rows].T.astype(int)) > 0
    place = np.array(places)[rows]
    for direction in ("aa", "bb", "ab", "ba"):
        q, g = (views[m] / np.linalg.norm(views[m], axis=1, keepdims=True) for m in direction)
        similarity = np.where(place[:, None] == place[None], -np.inf, q @ g.T)
        top = np.argsort(-similarity, axis=1)[:, :5]
        expected = np.take_along_axis(relevant, top, axis=1).mean()
        assert record.scores[direction]["p@5"].value == pytest.approx(expected, abs=1e-9)
        assert record.counts[direction]["n_group_excluded_mean"] == 4.0
    assert record.scores["ab"]["pair_r@1"].value is None
    assert "own place" in protocol_note(record, {"a": "S1", "b": "S2"})
    plain = evaluate(run, quiet=True)
    assert (plain.protocol.exclude, plain.protocol.groups) == ("self", None)


def test_the_spatial_protocol_needs_places(trained_run: Path) -> None:
    with pytest.raises(UserError, match="from which place"):
        evaluate(trained_run, protocol="spatial", quiet=True)


def test_a_run_is_opened_and_read_once_whatever_is_drawn_of_it(
    trained_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def counted(place: str, real: Callable[..., Any]) -> None:
        def call(*words: Any, **named: Any) -> Any:
            calls.append(place)
            return real(*words, **named)

        monkeypatch.setattr(place, call)

    counted("crbench.run.opened.open_cache", opened.open_cache)
    counted("crbench.embedding.file.checked_vectors", embedding_file.checked_vectors)
    words = ["--out", tmp_path / "r.json", "--grid", tmp_path / "g.png", "--quiet"]
    result = CliRunner().invoke(app, ["evaluate", str(trained_run), *map(str, words)])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "g.png").is_file() and len(calls) == len(set(calls)) == 2


def test_what_was_scored_is_handed_on(trained_run: Path, tmp_path: Path) -> None:
    scored: list[EvaluatedRun] = []
    out = tmp_path / "r.json"
    record = evaluate(trained_run, out=out, quiet=True, then=scored.append)
    (run,) = scored
    assert run.record is record and run.path == trained_run
    assert run.embeddings.path == run.folder.embeddings
    assert set(run.embeddings.serves) == set(record.scores)


def test_a_protocol_leaves_the_own_pair_out_and_says_so(
    trained_run: Path, twin_cache: Path
) -> None:
    usual = evaluate(trained_run, quiet=True)
    record = evaluate(trained_run, protocol="leave-pair-out", quiet=True)
    assert record.protocol.exclude == "pair"
    for direction in ("aa", "bb"):  # within a sensor the pair is the query itself
        found, same = (r.scores[direction]["f1_item@5"].value for r in (record, usual))
        assert found == same
    for direction in ("ab", "ba"):
        assert record.scores[direction]["pair_r@5"].value is None
        assert record.chance[direction]["f1_item@5"] < usual.chance[direction]["f1_item@5"]
    data = open_cache(twin_cache)
    data.card = load_dataset("ben-14k-twin", overrides=["labels.kind=none"])
    with pytest.raises(UserError, match="the own pair is all that is right"):
        query_and_gallery(data, data.card.protocols["leave-pair-out"])
