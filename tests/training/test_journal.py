"""Best weights, collapse, broken losses: the journal sees all and changes nothing."""

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from crbench.data.cache.reading import open_cache
from crbench.errors import Collapsed, UserError
from crbench.evaluation.evaluate import evaluate
from crbench.files import read_json, read_jsonl, sha256_file
from crbench.models.cr_jepa import CRJEPA
from crbench.models.registry import build_method
from crbench.run.folder import RunFolder
from crbench.run.opened import load_weights
from crbench.scoring.health import NARROW

Go = Callable[..., Path]


STEPS = ["train.batch_size=24"]  # four an epoch


def test_watching_changes_no_bit_of_the_weights(plain: Path, watched: Path) -> None:
    weights = [sha256_file(path / "weights.safetensors") for path in (plain, watched)]
    assert weights[0] == weights[1]
    drop = ("seconds", "pairs_per_s", "val")
    logs = [
        [{k: v for k, v in x.items() if k not in drop} for x in read_jsonl(p / "metrics.jsonl")]
        for p in (plain, watched)
    ]
    assert logs[0] == logs[1]
    assert not list(watched.glob("checkpoint*"))


def test_the_best_weights_are_those_of_the_best_epoch(
    twin_cache: Path, watched: Path, tmp_path: Path
) -> None:
    lines = {x["epoch"]: x for x in read_jsonl(watched / "metrics.jsonl") if "val" in x}
    best = max(lines, key=lambda epoch: lines[epoch]["val"]["scores"]["map"]["mean"])
    info = RunFolder(watched).finished()
    assert info.best == {
        "metric": "map", "value": lines[best]["val"]["scores"]["map"]["mean"], "epoch": best,
        "step": lines[best]["step"],
    }  # fmt: skip
    records = {
        which: evaluate(watched, weights=which, out=tmp_path / f"{which}.json", quiet=True)
        for which in ("last", "best")
    }
    assert records["last"].training.checkpoint == "last"
    assert records["best"].training.checkpoint == f"best map on val, epoch {best}"
    same = best == 3
    assert (records["best"].scores == records["last"].scores) == same
    for which, record in records.items():
        path = RunFolder(watched, which).weights
        assert record.digests["weights"] == sha256_file(path)
    assert evaluate(watched, weights="best", quiet=True)
    assert (watched / "record-best.json").is_file()


def test_best_weights_that_were_not_kept_are_named(plain: Path) -> None:
    with pytest.raises(UserError, match="kept no best weights"):
        evaluate(plain, weights="best", quiet=True)
    with pytest.raises(UserError, match="'besst'"):
        evaluate(plain, weights="besst", quiet=True)


def test_the_best_epoch_is_remembered_over_an_interruption(
    go: Go, twin_cache: Path, watched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crbench.training import journal as watch

    out, options = tmp_path / "out", {"eval_every": 2, "keep_best": "map"}
    real = watch.Journal.kept

    def stop_at_nine(self: watch.Journal, step: int) -> None:
        real(self, step)
        if step == 9:
            raise KeyboardInterrupt

    monkeypatch.setattr("crbench.training.loop.CHECKPOINT_EVERY_S", 0.0)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(watch.Journal, "kept", stop_at_nine)
        go(twin_cache, out, **options)
    go(twin_cache, out, resume=True, **options)
    assert RunFolder(out).finished().best == RunFolder(watched).finished().best
    for name in ("weights.safetensors", "weights-best.safetensors"):
        assert sha256_file(out / name) == sha256_file(watched / name)
    vals = [[x.get("val") for x in read_jsonl(p / "metrics.jsonl")] for p in (out, watched)]
    assert vals[0] == vals[1]


def one_point(self: CRJEPA, images: torch.Tensor, modality: str) -> dict[str, torch.Tensor]:
    return {view: torch.ones(len(images), 4) for view in ("uni", "cross")}


def test_near_collapse_is_said_and_ends_nothing(
    go: Go,
    twin_cache: Path,
    plain: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    out = tmp_path / "out"
    monkeypatch.setitem(NARROW, "max_mean_cosine", -1.0)
    go(twin_cache, out, eval_every=1, stop_on_collapse=True)
    assert "epoch 3: near collapse: aa query embeddings use little" in capsys.readouterr().err
    assert all(x["val"]["narrow"] for x in read_jsonl(out / "metrics.jsonl"))
    assert sha256_file(out / "weights.safetensors") == sha256_file(plain / "weights.safetensors")


def test_a_collapse_is_named_and_ends_the_run_where_asked(
    go: Go,
    twin_cache: Path,
    plain: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(CRJEPA, "embed", one_point)
        with pytest.raises(Collapsed, match=r"collapsed.*one point") as caught:
            go(twin_cache, out, eval_every=1, stop_on_collapse=True)
        assert caught.value.exit_code == 3 and "step 4" in str(caught.value)
        assert "have collapsed" in capsys.readouterr().err
        go(twin_cache, out, eval_every=1, resume=True)  # without the option: warned, not ended
    assert "epoch 3: the embeddings have collapsed" in capsys.readouterr().err
    assert all("one point" in x["val"]["collapsed"] for x in read_jsonl(out / "metrics.jsonl"))
    assert sha256_file(out / "weights.safetensors") == sha256_file(plain / "weights.safetensors")


@pytest.mark.parametrize(("value", "every"), [(math.nan, 0.0), (math.inf, 0.0), (math.nan, 1e9)])
def test_a_loss_that_is_not_finite_leaves_its_batch_and_terms(
    go: Go,
    twin_cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    value: float,
    every: float,
) -> None:
    """The first broken step is named: found at once, or where the epoch ends, after another one."""
    real, seen = CRJEPA.loss, []

    def breaks(self: CRJEPA, batch: Any, step: Any) -> dict[str, torch.Tensor]:
        terms = real(self, batch, step)
        if step.index == 6:
            seen[:] = open_cache(twin_cache).ids[batch["rows"].numpy()].tolist()
            terms["loss"] = terms["loss"] * value
        return terms

    monkeypatch.setattr(CRJEPA, "loss", breaks)
    monkeypatch.setattr("crbench.training.loop.CHECKPOINT_EVERY_S", every)
    with pytest.raises(UserError, match="not finite at step 7") as caught:
        go(twin_cache, tmp_path / "out")
    kept = "no checkpoint was made" if every else "checkpoint.pt holds step 6"
    assert f"in nonfinite.json, {kept}" in str(caught.value)
    left = read_json(tmp_path / "out" / "nonfinite.json")
    assert (left["epoch"], left["step"]) == (2, 7)
    assert left["checkpoint_step"] == (None if every else 6)
    assert left["ids"] == seen and len(seen) == 24
    assert "loss" in left["not_finite"] and left["terms"]["loss"] == str(value)
    if not every:
        state = torch.load(tmp_path / "out" / left["checkpoint"], weights_only=True)
        assert all(bool(x.isfinite().all()) for x in state["model"].values())


def test_the_weights_of_the_best_epoch_load_by_themselves(watched: Path) -> None:
    from crbench.cards import load_method

    card = load_method("cr-jepa", scale="tiny", overrides=STEPS)
    load_weights(watched / "weights-best.safetensors", build_method(card, {"a": 2, "b": 12}), {})


@pytest.mark.soak
def test_two_ranks_watch_and_change_nothing(twin_cache: Path, tmp_path: Path) -> None:
    """Rank 0 alone scores and writes; both know the best epoch, and the weights stay."""
    weights = []
    for name, words in (("plain", []), ("watched", ["--eval-every", "1", "--keep-best", "map"])):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
        command += ["--nproc-per-node", "2", "-m", "crbench", "train", "cr-jepa", "ben-14k-twin"]
        command += ["--scale", "tiny", "--epochs", "2", "--set", STEPS[0], "--threads", "1"]
        command += ["--cache", str(twin_cache), "--out", str(tmp_path / name), "-q", *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=280)
        assert done.returncode == 0, done.stderr
        weights.append(sha256_file(tmp_path / name / "weights.safetensors"))
    assert weights[0] == weights[1]
    lines = read_jsonl(tmp_path / "watched" / "metrics.jsonl")
    assert [line["epoch"] for line in lines] == [1, 2] and all("val" in line for line in lines)
    best = RunFolder(tmp_path / "watched", "best").finished().best
    assert best["value"] == max(line["val"]["scores"]["map"]["mean"] for line in lines)
