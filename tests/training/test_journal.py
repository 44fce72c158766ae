"""Validation, best weights, collapse, broken losses, trackers: they see all, change nothing."""

import json
import math
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch

from crbench import train
from crbench.data.cache.reading import open_cache
from crbench.errors import Collapsed, UserError
from crbench.evaluation.evaluate import evaluate
from crbench.files import read_json, read_jsonl, sha256_file
from crbench.models.cr_jepa import CRJEPA
from crbench.models.registry import build_method
from crbench.run.folder import Options, RunFolder
from crbench.run.opened import load_weights
from crbench.training.journal import Validation
from crbench.training.trackers import flat

STEPS = ["train.batch_size=24"]  # four an epoch


def go(cache: Path, out: Path, resume: bool = False, epochs: int = 3, **options: Any) -> Path:
    return train(
        "cr-jepa", "ben-14k-twin", scale="tiny", epochs=epochs, overrides=STEPS, cache=cache,
        out=out, quiet=True, resume=resume, options=Options(**options),
    )  # fmt: skip


@pytest.fixture(scope="module")
def plain(twin_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return go(twin_cache, tmp_path_factory.mktemp("watch") / "plain")


@pytest.fixture(scope="module")
def watched(twin_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("watch") / "watched"
    return go(twin_cache, out, eval_every=2, keep_best="map", keep_last=2, track=["tensorboard"])


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


def test_validation_scores_are_those_of_a_record_on_the_split(
    twin_cache: Path, watched: Path, tmp_path: Path
) -> None:
    lines = read_jsonl(watched / "metrics.jsonl")
    assert ["val" in line for line in lines] == [False, True, True]  # every second, and the last
    found = lines[-1]["val"]
    assert set(found["scores"]) == {"f1_item@5", "map"}  # the headline's and the one to keep by
    assert found["collapsed"] is None and set(found["health"]) == {"a", "b"}
    info = read_json(watched / "run.json")
    info["dataset"]["protocols"]["on-val"] = {"query": ["val"], "gallery": ["val"]}
    copy = tmp_path / "copy"
    copy.mkdir()
    (copy / "run.json").write_text(json.dumps(info))
    (copy / "weights.safetensors").symlink_to(watched / "weights.safetensors")
    record = evaluate(copy, protocol="on-val", quiet=True)
    for metric, values in found["scores"].items():
        mine = {d: record.scores[d][metric].value for d in ("aa", "bb", "ab", "ba")}
        assert {d: values[d] for d in mine} == mine
        assert values["mean"] == pytest.approx(math.fsum(mine.values()) / 4)  # type: ignore[arg-type]


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
    twin_cache: Path, watched: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
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


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"keep_best": "map"}, "--eval-every"),
        ({"stop_on_collapse": True}, "--eval-every"),
        ({"eval_every": 1, "keep_best": "mpa"}, "'map'"),
        ({"track": ["tensorbord"]}, "'tensorboard'"),
    ],
)
def test_options_that_cannot_be_followed_are_refused_first(
    twin_cache: Path, tmp_path: Path, options: dict[str, Any], named: str
) -> None:
    with pytest.raises(UserError) as caught:
        go(twin_cache, tmp_path / "out", **options)
    assert named in str(caught.value)
    assert not (tmp_path / "out").exists()


def one_point(self: CRJEPA, images: torch.Tensor, modality: str) -> dict[str, torch.Tensor]:
    return {view: torch.ones(len(images), 4) for view in ("uni", "cross")}


def test_a_collapse_is_named_and_ends_the_run_where_asked(
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
    twin_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: float, every: float
) -> None:
    """The first broken step is named: found at once, or where the epoch ends, after another one."""
    real, seen = CRJEPA.loss, []

    def breaks(self: CRJEPA, batch: Any, step: Any) -> dict[str, torch.Tensor]:
        terms = real(self, batch, step)
        if step.index == 6:
            seen.extend(open_cache(twin_cache).ids[batch["rows"].numpy()].tolist())
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


def test_scoring_leaves_modes_and_random_numbers_as_they_were(
    plain: Path, twin_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For methods of others, with dropout, frozen parts and draws of their own."""
    info = RunFolder(plain).finished().model_copy(update={"options": Options(eval_every=1)})
    model = build_method(info.method_card, {"a": 2, "b": 12}).train()
    model.heads["uni"].eval()
    modes = [module.training for module in model.modules()]
    real, seen = CRJEPA.embed, []

    def draws(self: CRJEPA, images: torch.Tensor, modality: Any) -> dict[str, torch.Tensor]:
        seen.append(any(module.training for module in self.modules()) or torch.rand(1))
        return real(self, images, modality)

    monkeypatch.setattr(CRJEPA, "embed", draws)
    state = torch.get_rng_state()
    Validation(open_cache(twin_cache), info, model, torch.device("cpu")).score()
    assert seen and True not in seen
    assert [module.training for module in model.modules()] == modes and len(set(modes)) == 2
    assert torch.equal(torch.get_rng_state(), state)


def test_tensorboard_has_what_the_log_has(watched: Path) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = events.EventAccumulator(str(watched / "tensorboard"))
    found.Reload()
    for line in read_jsonl(watched / "metrics.jsonl"):
        for name, value in flat(line).items():
            stored = {e.step: e.value for e in found.Scalars(name)}
            assert stored[line["epoch"]] == pytest.approx(value, rel=1e-6)


@pytest.mark.parametrize(("name", "folder"), [("wandb", "wandb"), ("trackio", "trackio")])
def test_a_service_keeps_the_run_on_this_machine(
    twin_cache: Path,
    plain: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    name: str,
    folder: str,
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "out" / "trackio"))  # read at import
    pytest.importorskip(name)
    out = go(twin_cache, tmp_path / "out", track=[name])
    assert "failed" not in capsys.readouterr().err
    assert [path for path in (out / folder).rglob("*") if path.is_file()]
    assert sha256_file(out / "weights.safetensors") == sha256_file(plain / "weights.safetensors")


def broken_at(moment: str) -> types.ModuleType:
    """A module in the place of wandb that raises at ``moment`` and at no other."""
    module = types.ModuleType("wandb")

    def call(name: str) -> Any:
        def act(*_: Any, **__: Any) -> None:
            if name == moment:
                raise ConnectionError("no route\nto host")

        return act

    for name in ("init", "log", "finish"):
        setattr(module, name, call(name))
    return module


@pytest.mark.parametrize("moment", ["import", "init", "log", "finish"])
def test_a_tracker_that_raises_is_named_once_and_stops_nothing(
    twin_cache: Path,
    plain: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
    moment: str,
) -> None:
    module = None if moment == "import" else broken_at(moment)
    monkeypatch.setitem(sys.modules, "wandb", module)  # None: as if it were not installed
    out = go(twin_cache, tmp_path / "out", track=["wandb"])
    said = capsys.readouterr().err
    assert said.count("tracker wandb failed") == 1
    assert ("crbench[track]" in said) == (moment == "import")
    assert len(read_jsonl(out / "metrics.jsonl")) == 3
    assert sha256_file(out / "weights.safetensors") == sha256_file(plain / "weights.safetensors")


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
