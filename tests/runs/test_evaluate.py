"""Evaluation: the record says what was scored and how, and refuses what does not fit."""

from pathlib import Path

import pytest

from crbench.errors import UserError
from crbench.records import read_record
from crbench.runs.embed import embed_run
from crbench.runs.evaluate import evaluate
from crbench.runs.train import train


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


def test_embeddings_are_reused_only_where_nothing_changed(trained_run: Path) -> None:
    path = embed_run(trained_run, quiet=True)
    first = path.stat().st_mtime_ns
    assert embed_run(trained_run, quiet=True).stat().st_mtime_ns == first
    assert embed_run(trained_run, splits=["val"], quiet=True).stat().st_mtime_ns != first


def test_damaged_weights_are_refused_by_name(trained_run: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(trained_run, copy)
    (copy / "embeddings.h5").unlink(missing_ok=True)
    weights = copy / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match="weights") as caught:
        evaluate(copy, quiet=True)
    assert str(weights) in str(caught.value)


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


def test_a_cache_that_normalises_otherwise_is_refused(trained_run: Path, tmp_path: Path) -> None:
    import json
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(trained_run, copy)
    info = json.loads((copy / "run.json").read_text())
    info["statistics"]["a"]["mean"][0] += 1.0
    (copy / "run.json").write_text(json.dumps(info))
    with pytest.raises(UserError, match="normalises"):
        evaluate(copy, quiet=True)
