"""What a search finds is what evaluate ranks: items, scores and what is left out."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from crbench import train
from crbench.archive.search import Search, ask, open_search
from crbench.cards import load_dataset
from crbench.data.cache import build
from crbench.data.cache.reading import Cache
from crbench.data.sources import open_source
from crbench.draw.grids import neighbours_of
from crbench.errors import UserError
from crbench.evaluation.evaluate import evaluate
from crbench.evaluation.recorded import EvaluatedRun, open_evaluated
from crbench.records import read_record

SMALL = [f"source.splits.{name}={size}" for name, size in (("train", 40), ("val", 10))]


SMALL += ["source.splits.test=30"]


NAMES = ("aa", "bb", "ab", "ba")


def agree(found: Search, opened: EvaluatedRun, k: int) -> None:
    """Items and scores of every query in every direction are those of the scorer."""
    rows = opened.cache.rows(opened.protocol.query)
    hits = neighbours_of(opened.cache, opened.embeddings, opened.protocol, rows, k)
    assert len(hits) == len(rows) * len(found.directions)
    for hit in hits:
        answer = found.by_id(str(opened.cache.ids[hit.query]), hit.direction, k)
        n = len(hit.items)  # of nearest, the smallest number over the queries
        assert [item.row for item in answer.items[:n]] == hit.items.tolist()
        assert [item.score for item in answer.items[:n]] == hit.scores.tolist()
        assert [item.rank for item in answer.items] == list(range(1, len(answer.items) + 1))
        assert [item.id for item in answer.items] == [
            opened.cache.ids[item.row] for item in answer.items
        ]


@pytest.mark.parametrize("which", ["run", "predicting"])
def test_search_equals_the_top_k_of_evaluate(which: str, request: pytest.FixtureRequest) -> None:
    path = request.getfixturevalue(which)
    found = open_search(path, quiet=True)
    assert found.directions == NAMES and found.default_direction == "ab"
    assert found.record == read_record(path / "record.json")
    for k in (5, 1000):
        agree(found, open_evaluated(path), k)


@pytest.mark.parametrize("which", ["run", "predicting"])
def test_metrics_of_the_record_follow_from_what_is_found(
    which: str, request: pytest.FixtureRequest
) -> None:
    found = open_search(request.getfixturevalue(which), quiet=True)
    cache, record = found.cache, found.record
    assert record is not None and cache.labels is not None
    sets = cache.labels.astype(bool)
    for direction in found.directions:
        values: dict[str, list[float]] = {"p@5": [], "f1_item@5": [], "pair_r@1": []}
        for row in cache.rows(["test"]):
            answer = found.by_id(str(cache.ids[row]), direction, 6)
            scores = [item.score for item in answer.items]
            assert scores[4] > scores[5]  # no tie at the cut, which would count as an expectation
            top = answer.items[:5]
            values["p@5"].append(np.mean([bool(item.right) for item in top]))
            shared = [2 * (sets[row] & sets[item.row]).sum() for item in top]
            sizes = [sets[row].sum() + sets[item.row].sum() for item in top]
            values["f1_item@5"].append(np.mean(np.array(shared) / sizes))
            values["pair_r@1"].append(top[0].row == row)
        if direction in ("aa", "bb"):
            assert not any(values.pop("pair_r@1"))  # the query itself is never found
        for metric, each in values.items():
            assert record.scores[direction][metric].value == pytest.approx(np.mean(each), abs=1e-12)


def test_the_protocol_of_a_record_is_followed(run: Path) -> None:
    """Queries of another split; what lies at the query's place is left out."""
    record = evaluate(run, protocol="csmae", quiet=True)
    found = open_search(run, record=record, quiet=True)
    agree(found, open_evaluated(run, record=record), 7)
    assert found.protocol_name == "csmae"
    assert (run / "index" / "b-cross-csmae.npy").is_file()


def test_places_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    card = load_dataset("ben-14k-twin", overrides=SMALL)
    source = open_source(card)
    groups = [f"34T{k % 5}/2017080{k % 3}" for k in range(len(source.ids))]
    known = dataclasses.replace(source, groups=groups)
    monkeypatch.setattr(build, "open_source", lambda *_: known)
    cache = build.build_cache(card, tmp_path / "c.h5", quiet=True)
    run = train("cca", "ben-14k-twin", scale="tiny", cache=cache, out=tmp_path / "run", quiet=True)
    evaluate(run, quiet=True)
    record = evaluate(run, protocol="spatial", quiet=True)
    found = open_search(run, record=record, quiet=True)
    agree(found, open_evaluated(run, record=record), 30)
    query = str(found.cache.ids[found.cache.rows(["train"])[0]])  # its place is known all the same
    answer = found.by_id(query, "ab", 30)
    assert answer.ranked == len(answer.items) == 24
    assert all(item.row % 5 != answer.query_row % 5 for item in answer.items)  # type: ignore[operator]
    other = record.model_copy(
        update={"protocol": record.protocol.model_copy(update={"groups": "0" * 64})}
    )
    with pytest.raises(UserError, match="other places than the record"):
        open_search(run, record=other, quiet=True)
    monkeypatch.undo()
    plain = build.build_cache(card, tmp_path / "plain.h5", quiet=True)
    with pytest.raises(UserError, match="this cache has no places"):
        open_search(run, record=record, cache=plain, quiet=True)


def image(cache: Cache, query: str, modality: str) -> np.ndarray:
    return np.array(cache.images(modality)[cache.ids.tolist().index(query)])


def test_a_pair_of_any_split_and_its_pixels_find_the_same(search: Search) -> None:
    cache = search.cache
    for split, direction in (("train", "ab"), ("train", "bb"), ("test", "ba")):
        query = str(cache.ids[cache.rows([split])[3]])
        by_id = search.by_id(query, direction, 30)
        by_image = search.by_image(image(cache, query, direction[0]), direction, 40)
        scores = {item.id: item.score for item in by_image.items}
        assert len(by_id.items) == 30
        for item in by_id.items:  # the query itself is an item like others to an image of one's own
            assert item.score == pytest.approx(scores[item.id], abs=1e-5)
        assert all(item.right is not None for item in by_id.items)
        assert all(item.right is None for item in by_image.items)
        assert by_image.query_row is None and by_image.query_labels == []
        assert (by_image.pixels == image(cache, query, direction[0])).all()


def test_queries_that_are_not_there(search: Search, predicting: Path) -> None:
    known = str(search.cache.ids[7])
    with pytest.raises(UserError) as caught:
        ask(search, known[:-1] + "x")
    assert known[:-1] in (caught.value.fix or "") and "did you mean" in (caught.value.fix or "")
    with pytest.raises(UserError, match="no pair named 'zzz'") as caught:
        ask(search, "zzz")
    assert "its ids look like" in (caught.value.fix or "")
    with pytest.raises(UserError, match="no such file"):
        ask(search, "nowhere/x.tif")
    with pytest.raises(UserError, match="unknown direction 'ac'"):
        ask(search, known, "ac")
    with pytest.raises(UserError, match="k is 0"):
        ask(search, known, top=0)


def test_a_model_of_one_sensor_has_its_own_direction(twin_cache: Path, tmp_path: Path) -> None:
    out, one = tmp_path / "rejepa", ["model.modalities=b"]
    train("rejepa", "ben-14k-twin", scale="tiny", epochs=1, overrides=one, cache=twin_cache,
          out=out, quiet=True)  # fmt: skip
    found = open_search(out, quiet=True)
    assert found.directions == ("bb",)
    query = str(found.cache.ids[-1])
    assert found.by_id(query).direction == "bb"
    np.save(tmp_path / "x.npy", image(found.cache, query, "a"))
    with pytest.raises(UserError, match=r"the card says S2 is 12×32×32"):
        ask(found, str(tmp_path / "x.npy"))
    with pytest.raises(UserError, match="unknown direction 'ab'") as caught:
        found.by_id(query, "ab")
    assert "REJEPA" in str(caught.value) and "known: bb" in str(caught.value)


def test_of_pairs_without_labels_only_the_own_one_is_right(search: Search) -> None:
    labels = search.cache.card.labels.model_copy(update={"kind": "none", "classes": []})
    search.cache.card = search.cache.card.model_copy(update={"labels": labels})
    search.cache.labels = None
    query = str(search.cache.ids[-1])
    across = search.by_id(query, "ab", 1000)
    assert [item.row == across.query_row for item in across.items] == [
        item.right for item in across.items
    ]
    assert sum(bool(item.right) for item in across.items) == 1
    inside = search.by_id(query, "aa", 5)  # the pair is left out: nothing could be right
    assert {item.right for item in inside.items} == {None}
