"""Search finds what evaluate ranks: items, scores and what is left out; queries of any kind."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image

import crbench
from crbench import train
from crbench.archive.search import Search, ask, open_search
from crbench.cards import load_dataset
from crbench.data.cache import build
from crbench.data.cache.reading import Cache
from crbench.data.sources import open_source
from crbench.draw.neighbours import neighbours_of
from crbench.embedding.embedder import embed_run
from crbench.errors import UserError
from crbench.evaluation.evaluate import evaluate
from crbench.evaluation.recorded import EvaluatedRun, open_evaluated
from crbench.files import read_json, write_json
from crbench.records import Record, read_record
from crbench.run.opened import open_run

SMALL = [f"source.splits.{name}={size}" for name, size in (("train", 40), ("val", 10))]
SMALL += ["source.splits.test=30"]
NAMES = ("aa", "bb", "ab", "ba")


@pytest.fixture(scope="module")
def run(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the trained run, evaluated."""
    copy = Path(shutil.copytree(trained_run, tmp_path_factory.mktemp("search") / "cr-jepa"))
    for path in (*copy.glob("record*"), *copy.glob("embeddings*")):
        path.unlink()
    evaluate(copy, quiet=True)
    return copy


@pytest.fixture(scope="module")
def predicting(twin_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """X-JEPA, whose queries across sensors are predicted and its gallery is not, evaluated."""
    out = tmp_path_factory.mktemp("search") / "x-jepa"
    train("x-jepa", "ben-14k-twin", scale="tiny", epochs=1, cache=twin_cache, out=out, quiet=True)
    evaluate(out, quiet=True)
    return out


@pytest.fixture
def search(run: Path) -> Search:
    return open_search(run, quiet=True)


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


def test_a_stored_embedding_is_taken_where_there_is_one(search: Search) -> None:
    """To the bit, and the image embedded alone comes to the same within float32."""
    row = int(search.cache.rows(["test"])[5])
    stored = search.queries.of_pair(row, "a/cross")
    opened = open_evaluated(search.queries.run.path)
    assert (stored == opened.embeddings.of("a/cross", search.cache.ids[[row]])[0]).all()
    assert "_embedder" not in vars(search.queries)  # nothing was loaded for it
    alone = search.queries.of_image(search.cache.images("a")[row], "a/cross", "x")
    np.testing.assert_allclose(alone, stored, atol=1e-5 * np.abs(stored).max())


def test_the_index_is_stored_once_and_mapped(run: Path) -> None:
    shutil.rmtree(run / "index", ignore_errors=True)
    query = str(open_search(run, quiet=True).cache.ids[-1])
    first = open_search(run, quiet=True).by_id(query, "ab", 9)
    (file,) = (run / "index").glob("*.npy")
    assert file.name == "b-cross-leave-one-out.npy"
    before = file.stat().st_mtime_ns
    found = open_search(run, quiet=True)
    assert found.by_id(query, "ab", 9).items == first.items
    assert file.stat().st_mtime_ns == before
    base: Any = found.gallery("b/cross").vectors
    while not isinstance(base, np.memmap):
        base = base.base
    assert not found.gallery("b/cross").vectors.flags.writeable


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-40] ^= 0x40
    path.write_bytes(data)


def swap(path: Path) -> None:
    """A sound file of something else: the key says so."""
    said = read_json(path.with_suffix(".key"))
    write_json(path.with_suffix(".key"), said | {"key": "0" * 64})


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "a flipped bit": flip,
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:200]),
    "no array": lambda path: path.write_bytes(b"x" * 500),
    "no key": lambda path: path.with_suffix(".key").unlink(),
    "a damaged key": lambda path: path.with_suffix(".key").write_text('{"key":'),
    "of something else": swap,
}


@pytest.mark.parametrize("how", DAMAGE)
def test_a_stale_or_damaged_index_is_made_again(run: Path, search: Search, how: str) -> None:
    query = str(search.cache.ids[-1])
    expected = search.by_id(query, "ab", 30).items
    file = run / "index" / "b-cross-leave-one-out.npy"
    sound = file.read_bytes()
    DAMAGE[how](file)
    assert open_search(run, quiet=True).by_id(query, "ab", 30).items == expected
    assert file.read_bytes() == sound


def test_a_folder_that_cannot_be_written_is_searched_all_the_same(
    run: Path, search: Search
) -> None:
    expected = search.by_id(str(search.cache.ids[-1]), "ab", 9).items
    shutil.rmtree(run / "index")
    (run / "index").write_text("a file where the folder would be")
    try:
        found = open_search(run, quiet=True).by_id(str(search.cache.ids[-1]), "ab", 9)
        assert found.items == expected
        assert (run / "index").is_file()
    finally:
        (run / "index").unlink()


def test_a_run_without_a_record_is_embedded_and_searched(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    for path in (*copy.glob("record*"), copy / "embeddings.h5"):
        path.unlink()
    shutil.rmtree(copy / "index", ignore_errors=True)
    found, own = open_search(copy, quiet=True), open_search(run, quiet=True)
    assert found.record is None and found.protocol_name == "leave-one-out"
    query = str(found.cache.ids[-1])
    assert found.by_id(query, "ab", 30).items == own.by_id(query, "ab", 30).items


def test_embeddings_that_are_not_the_records(run: Path, tmp_path: Path) -> None:
    """A pulled run brings a record and no embeddings: it is searched, and says whose they are."""
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    (copy / "embeddings.h5").unlink()
    for _ in range(2):  # the second time they are there, and not the record's
        found = open_search(copy, quiet=True)
        assert found.record is None
        assert found.by_id(str(found.cache.ids[-1]), "ab").items
    with pytest.raises(UserError, match="not those of the record"):
        open_search(copy, record=read_record(run / "record.json"), quiet=True)


def test_embeddings_made_again_make_a_new_index(run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(run, tmp_path / "copy"))
    (copy / "record.json").unlink()
    first = open_search(copy, quiet=True)
    query = str(first.cache.ids[-1])
    first.by_id(query, "ab")
    key = (copy / "index" / "b-cross-leave-one-out.key").read_text()
    embed_run(open_run(copy), splits=["test"], quiet=True)
    second = open_search(copy, quiet=True)
    assert second.digest != first.digest
    second.by_id(query, "ab")
    assert (copy / "index" / "b-cross-leave-one-out.key").read_text() != key


def tiff(path: Path, pixels: np.ndarray, names: list[str]) -> Path:
    _, height, width = pixels.shape
    shape = {"height": height, "width": width, "count": len(pixels), "dtype": pixels.dtype}
    with rasterio.open(path, "w", driver="GTiff", **shape) as file:
        file.write(pixels)
        for index, name in enumerate(names):
            file.set_band_description(index + 1, name)
    return path


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_files_of_ones_own(search: Search, tmp_path: Path) -> None:
    """The sensor is the one whose card the file fits; bands by name in any order."""
    query = str(search.cache.ids[-1])
    radar, optical = (image(search.cache, query, m) for m in "ab")
    np.save(tmp_path / "radar.npy", radar)
    np.savez(tmp_path / "optical.npz", optical)
    bands = search.cache.card.b.bands
    tiff(tmp_path / "optical.tif", optical[::-1], bands[::-1])
    expected = {m: search.by_image(image(search.cache, query, m), d, 6).items for m, d in
                (("a", "ab"), ("b", "ba"))}  # fmt: skip
    for name, modality in (("radar.npy", "a"), ("optical.npz", "b"), ("optical.tif", "b")):
        answer = ask(search, str(tmp_path / name), None, 6)
        assert (answer.query, answer.direction[0]) == (name, modality)
        assert answer.items == expected[modality]
    same = ask(search, str(tmp_path / "optical.npz"), "bb", 3)
    assert same.items[0].id == query and same.items[0].score == 1.0


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_images_that_do_not_fit_name_the_bands(search: Search, tmp_path: Path) -> None:
    optical = image(search.cache, str(search.cache.ids[-1]), "b")
    np.save(tmp_path / "five.npy", optical[:5])
    with pytest.raises(UserError, match="fits no sensor") as caught:
        ask(search, str(tmp_path / "five.npy"))
    assert "S1 (VV, VH)" in str(caught.value) and "S2 (B01, B02" in str(caught.value)
    with pytest.raises(UserError) as caught:
        ask(search, str(tmp_path / "five.npy"), "ab")
    assert "2×32×32 float32" in str(caught.value) and "VV, VH" in str(caught.value)
    tiff(tmp_path / "few.tif", optical[:5], search.cache.card.b.bands[:5])
    with pytest.raises(UserError, match="needs the bands B06"):
        ask(search, str(tmp_path / "few.tif"), "ba")
    Image.new("RGB", (32, 32)).save(tmp_path / "photo.png")
    with pytest.raises(UserError, match="fits no sensor"):
        ask(search, str(tmp_path / "photo.png"))
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(UserError, match="not a readable image"):
        ask(search, str(tmp_path / "text.png"))
    with pytest.raises(UserError, match=r"5×32×32, S1 is 2×32×32: VV, VH"):
        search.by_image(optical[:5], "ab")
    with pytest.raises(UserError, match="NaN"):
        search.by_image(np.full((2, 32, 32), np.nan), "ab")


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


def test_the_python_function(run: Path, search: Search) -> None:
    query = str(search.cache.ids[-1])
    items = search.by_id(query, "ba", 4).items
    assert crbench.search(run, query, direction="ba", top=4).items == items
    pixels = image(search.cache, query, "b")
    found = crbench.search(run, pixels, direction="ba", top=4)
    assert [item.id for item in found.items] == [item.id for item in items]
    assert isinstance(search.record, Record)
