"""Relevance by place from the scenes to the board: what is scored, drawn anew, shown and said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from crbench import train
from crbench.board.rows import boards
from crbench.board.writers import board_markdown
from crbench.cards import load_dataset
from crbench.data.cache.build import build_cache
from crbench.data.cache.reading import open_cache
from crbench.draw.grids import explain_hit, relevance_words
from crbench.evaluation.compare import compare_runs
from crbench.evaluation.evaluate import evaluate

CARD = """
name = "strips"
title = "Strips"
summary = "twelve scenes in a row, four tiles each"
licence = "none"
citation = "none"
where = "made by a test"
train_splits = ["train"]
headline = ["pair_r@5", "map"]
protocol = "all"
[protocols.all]
query = ["test"]
gallery = ["test"]
resample = "place"
[protocols.few]
query = ["val"]
gallery = ["val"]
resample = "place"
[a]
name = "A"
sensor = "s"
bands = ["x"]
size = [8, 8]
dtype = "float32"
units = "1"
display = ["x"]
[b]
name = "B"
sensor = "s"
bands = ["y"]
size = [8, 8]
dtype = "float32"
units = "1"
display = ["y"]
[labels]
kind = "place"
radius_m = 1200.0
[source]
kind = "scenes"
table = "scenes.csv"
crs = "EPSG:3395"
[source.a]
file = "a/{scene}.npy"
size = [16, 16]
[source.b]
file = "b/{scene}.npy"
size = [16, 16]
[source.split]
by = "table"
"""


@pytest.fixture(scope="module")
def strips(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Scenes of 2 × 2 tiles of 1,000 m, 100 km apart; the card and its cache."""
    folder = tmp_path_factory.mktemp("strips")
    rng, lines = np.random.default_rng(0), ["scene,split,x_min,y_min,x_max,y_max"]
    for k in range(24):
        split = "test" if k < 12 else "val" if k < 15 else "train"
        lines.append(f"{k},{split},{1e5 * k},0,{1e5 * k + 2000},2000")
        for which in "ab":
            (folder / which).mkdir(exist_ok=True)
            image = rng.standard_normal((1, 16, 16)).astype(np.float32)
            np.save(folder / which / f"{k}.npy", image)
    (folder / "scenes.csv").write_text("\n".join(lines))
    (folder / "strips.toml").write_text(CARD)
    card = load_dataset(str(folder / "strips.toml"))
    return folder / "strips.toml", build_cache(card, folder / "c.h5", source_dir=folder, quiet=True)


@pytest.fixture(scope="module")
def run(strips: tuple[Path, Path]) -> Path:
    card, cache = strips
    out = cache.with_name("run")
    train("cr-jepa", str(card), scale="tiny", epochs=1, cache=cache, out=out, quiet=True)
    return out


def test_the_record_scores_places_and_draws_scenes(run: Path) -> None:
    record = evaluate(run, quiet=True)
    assert record.protocol.resample == "place" and record.counts["ab"]["n_blocks"] == 12
    assert set(record.scores["ab"]) >= {"map", "p@5", "pair_r@1", "pair_r@5"}
    # of 48 tiles three are relevant across the sensors: itself and the two at its sides
    assert record.chance["ab"]["p@5"] == pytest.approx(3 / 48)
    assert record.chance["aa"]["p@5"] == pytest.approx(2 / 47)
    cell = record.scores["ab"]["map"]
    assert cell.low < cell.value < cell.high
    assert record.per_class["ab"] == {} or not any(record.per_class["ab"].values())
    (board,) = boards([record])
    text = board_markdown([board])
    assert "interval over the 12 places (scenes) of the queries, by Student's t" in text
    few = evaluate(run, protocol="few", quiet=True)
    assert few.counts["ab"]["n_blocks"] == 3
    assert few.scores["ab"]["map"].value is not None and few.scores["ab"]["map"].low is None


def test_two_runs_are_compared_by_scenes(run: Path, strips: tuple[Path, Path]) -> None:
    card, cache = strips
    other = cache.with_name("random")
    train("random", str(card), scale="tiny", cache=cache, out=other, quiet=True)
    found = compare_runs([run], [other], quiet=True)
    assert found.protocol.resample == "place"
    cell = found.differences["ab"]["map"]
    assert cell["low"] < cell["difference"] < cell["high"]


def test_validation_ranks_by_place(strips: tuple[Path, Path], tmp_path: Path) -> None:
    from crbench.files import read_jsonl
    from crbench.run.folder import Options

    card, cache = strips
    train(
        "cr-jepa", str(card), scale="tiny", epochs=1, cache=cache, out=tmp_path / "r", quiet=True,
        options=Options(eval_every=1, keep_best="map"),
    )  # fmt: skip
    (line,) = read_jsonl(tmp_path / "r" / "metrics.jsonl")
    assert 0 < line["val"]["scores"]["map"]["mean"] <= 1


def test_a_map_of_places_is_coloured_by_scene(strips: tuple[Path, Path]) -> None:
    from crbench.draw.maps import item_classes

    cache = open_cache(strips[1])
    rows = cache.rows(["test"])
    assert cache.groups is not None
    scenes = [group.partition("/")[0] for group in cache.groups[rows].tolist()]
    assert item_classes(cache, rows) == scenes and len(set(scenes)) == 12


def test_a_hit_is_explained_by_its_distance(strips: tuple[Path, Path]) -> None:
    cache = open_cache(strips[1])
    assert relevance_words(cache) == "lies within 1,200 m of the query"
    rows = {name: k for k, name in enumerate(cache.ids)}
    first = rows["00_r00_c00"]
    right, text = explain_hit(cache, first, rows["00_r00_c01"])
    assert right and text[0].endswith(" m away") and 985 < int(text[0][:-7].replace(",", "")) < 1010
    assert explain_hit(cache, first, rows["00_r01_c01"])[0] is False
    assert explain_hit(cache, first, rows["03_r00_c00"]) == (False, ["300 km away"])


def test_what_was_read_by_an_old_program_has_no_blocks(make_record: Callable) -> None:
    text = board_markdown(boards([make_record()]))
    assert "interval over queries (1,000 resamples)" in text
