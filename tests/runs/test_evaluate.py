"""Evaluation: the record says what was scored and how, and refuses what does not fit."""

from pathlib import Path

import pytest

from crbench.errors import UserError
from crbench.records import read_record
from crbench.runs.embed import embed_run
from crbench.runs.evaluate import evaluate


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
