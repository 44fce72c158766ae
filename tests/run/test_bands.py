"""Bands chosen at training: in run.json, weights and record, and the same when embedding."""

import json
from pathlib import Path

import pytest
from safetensors import safe_open

from crbench import train
from crbench.board.rows import boards
from crbench.data.cache.reading import open_cache
from crbench.errors import UserError
from crbench.evaluation.evaluate import evaluate
from crbench.files import read_json, sha256_file

BANDS = ("a=VH,VV", "b=B02,B03,B04,B08")


def short(cache: Path, out: Path, **options: object) -> Path:
    settings = {"scale": "tiny", "epochs": 1, "cache": cache, "out": out, "quiet": True}
    return train("cr-jepa", "ben-14k-twin", **(settings | options))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def chosen_run(twin_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return short(twin_cache, tmp_path_factory.mktemp("bands") / "run", bands=BANDS)


def test_the_bands_stand_in_run_weights_and_record(twin_cache: Path, chosen_run: Path) -> None:
    expected = {"a": ["VH", "VV"], "b": ["B02", "B03", "B04", "B08"]}
    run = read_json(chosen_run / "run.json")
    assert {m: run["dataset"][m]["use"] for m in "ab"} == expected
    whole = open_cache(twin_cache)
    assert run["statistics"]["a"]["mean"] == whole.stats("a")["mean"][[1, 0]].tolist()
    assert run["cache_digest"] == whole.digest
    with safe_open(str(chosen_run / "weights.safetensors"), framework="pt") as handle:
        about = json.loads(handle.metadata()["crbench"])
    assert about["bands"] == expected
    assert about["statistics"] == run["statistics"]
    record = evaluate(chosen_run, quiet=True)
    assert {m: record.modalities[m].bands for m in "ab"} == expected
    assert {m: record.dataset.card[m]["use"] for m in "ab"} == expected


def test_streamed_training_gives_the_weights_of_resident_training(
    twin_cache: Path, chosen_run: Path, tmp_path: Path
) -> None:
    streamed = short(twin_cache, tmp_path / "streamed", bands=BANDS, loading="stream")
    assert sha256_file(streamed / "weights.safetensors") == sha256_file(
        chosen_run / "weights.safetensors"
    )


def test_the_figure_is_shown(
    twin_cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train("band-stats", "ben-14k-twin", cache=twin_cache, out=tmp_path / "run")
    assert "train split 0.0 GB, resident in memory" in capsys.readouterr().err


def test_rows_of_other_bands_are_other_rows(chosen_run: Path, trained_run: Path) -> None:
    records = [evaluate(run, quiet=True) for run in (chosen_run, trained_run)]
    same = records[1].model_copy(
        update={"method": records[0].method, "training": records[0].training}
    )  # nothing differs but the bands
    (board,) = boards([records[0], same])
    labels = [row.label for row in board.rows]
    assert "CR-JEPA (S1: VH VV, S2: B02 B03 B04 B08)" in labels
    assert "CR-JEPA" in labels


def test_going_on_with_other_bands_is_refused(twin_cache: Path, chosen_run: Path) -> None:
    with pytest.raises(UserError, match="cannot go on"):
        short(twin_cache, chosen_run, resume=True)
    with pytest.raises(UserError, match="no band HH"):
        short(twin_cache, chosen_run.parent / "other", bands=["a=HH"])
    assert not (chosen_run.parent / "other").exists()
    assert short(twin_cache, chosen_run, bands=BANDS, resume=True) == chosen_run


def test_a_model_sees_the_chosen_bands_and_no_other(chosen_run: Path) -> None:
    from safetensors.torch import load_file

    shapes = {tuple(t.shape) for t in load_file(chosen_run / "weights.safetensors").values()}
    widths = {shape[1] for shape in shapes if len(shape) == 4}
    assert {2, 4} <= widths and 12 not in widths, widths
