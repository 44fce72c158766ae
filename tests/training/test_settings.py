"""What is asked of a training: bad settings are refused first, and a run is never written over."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crbench import train
from crbench.cards import load_method
from crbench.data.cache.reading import open_cache
from crbench.errors import UserError
from crbench.files import sha256_file
from crbench.run.folder import Options, RunFolder, RunInfo
from crbench.training.settings import TrainSettings, begin

DATASET = "ben-14k-twin"


def short(cache: Path, out: Path, method: str = "cr-jepa", **options: object) -> Path:
    settings = {"scale": "tiny", "epochs": 2, "cache": cache, "out": out, "quiet": True}
    return train(method, DATASET, **(settings | options))  # type: ignore[arg-type]


def test_a_finished_run_is_never_trained_over(twin_cache: Path, trained_run: Path) -> None:
    before = sha256_file(trained_run / "weights.safetensors")
    with pytest.raises(UserError, match="has finished"):
        short(twin_cache, trained_run)
    assert short(twin_cache, trained_run, resume=True) == trained_run
    assert sha256_file(trained_run / "weights.safetensors") == before


def test_going_on_with_other_settings_is_refused(twin_cache: Path, trained_run: Path) -> None:
    with pytest.raises(UserError, match=r"another seed \(0, not 5\)"):
        short(twin_cache, trained_run, seed=5, resume=True)
    masks = ["model.mask_ratio=0.25"]
    with pytest.raises(UserError, match=r"another method \(model\.mask_ratio: [\d.]+, not 0\.25\)"):
        short(twin_cache, trained_run, overrides=masks, resume=True)
    with pytest.raises(UserError, match=r"\(train\.epochs: 2, not 4\)"):
        short(twin_cache, trained_run, epochs=4, resume=True)
    with pytest.raises(UserError, match=r"\(train\.accumulate: None, not 2\)"):
        short(twin_cache, trained_run, overrides=["train.accumulate=2"], resume=True)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"epochs": -1}, "epochs"),
        ({"seed": -1}, "seed"),
        ({"threads": 0}, "threads"),
        ({"device": "cuda:7"}, "device"),
        ({"scale": "huge"}, "scale"),
        ({"overrides": ["model.dept=3"]}, "model.depth"),
        ({"overrides": ["model.width=97"]}, "width"),
    ],
)
def test_bad_settings_are_refused_before_anything_is_written(
    twin_cache: Path, tmp_path: Path, options: dict[str, object], named: str
) -> None:
    with pytest.raises(UserError) as caught:
        short(twin_cache, tmp_path / "out", **options)
    assert named in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_a_folder_with_other_things_is_left_alone(twin_cache: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    with pytest.raises(UserError, match="not empty"):
        short(twin_cache, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_settings_are_checked_where_they_are_made() -> None:
    for options, where in (
        ({"epochs": -1}, "--epochs"),
        ({"seed": -1}, "--seed"),
        ({"seed": 2**63}, "--seed"),
        ({"threads": 0}, "--threads"),
    ):
        with pytest.raises(UserError) as caught:
            TrainSettings("cca", DATASET, **options)  # type: ignore[arg-type]
        assert caught.value.where == where
    edge = TrainSettings("cca", DATASET, epochs=0, seed=2**63 - 1, threads=1)
    assert edge.card().train.epochs == 0


def test_the_card_has_every_choice_and_epochs_come_last() -> None:
    overrides = ["train.epochs=7", "train.batch_size=24"]
    settings = TrainSettings("cr-jepa", DATASET, scale="tiny", overrides=overrides)
    assert settings.card() == load_method("cr-jepa", scale="tiny", overrides=overrides)
    train = replace(settings, epochs=3).card().train
    assert (train.epochs, train.batch_size) == (3, 24)


def test_a_run_goes_where_it_is_told_or_to_its_usual_place(twin_cache: Path) -> None:
    settings, data = TrainSettings("cca", DATASET, scale="tiny", seed=4), open_cache(twin_cache)
    usual = settings.folder(settings.card(), data).path
    assert usual == Path("runs") / DATASET / "cca@tiny" / "seed4"
    assert replace(settings, out="here").folder(settings.card(), data).path == Path("here")


@pytest.fixture
def begun(trained_run: Path, tmp_path: Path) -> RunFolder:
    """A folder in which a run has begun and not ended."""
    run = RunFolder(tmp_path / "begun")
    info = RunFolder(trained_run).read().model_copy(update={"finished": False})
    assert begin(run, info, resume=False, quiet=True) == info == run.read()
    return run


OTHERS: dict[str, Any] = {
    "cache_digest": "0" * 64, "statistics": {"a": {"mean": [0.0]}}, "seed": 7,
    "precision": "bf16", "threads": 99, "device": "abacus", "ranks": 64,
}  # fmt: skip


@pytest.mark.parametrize("key", ["method", *OTHERS])
def test_a_run_goes_on_with_nothing_else_than_it_began_with(key: str, begun: RunFolder) -> None:
    info = begun.read()
    method = {**info.method, "train": {**info.method["train"], "lr": 9.0}}
    other = info.model_copy(update={key: method if key == "method" else OTHERS[key]})
    before = begun.info_path.read_bytes()
    with pytest.raises(UserError, match=f"another {key.replace('_', ' ')}") as caught:
        begin(begun, other, resume=True, quiet=True)
    told = {"method": "train.lr: ", "statistics": ""}.get(key, f"{getattr(info, key)}, not ")
    assert told in str(caught.value) and "run.json" in (caught.value.fix or "")
    assert begun.info_path.read_bytes() == before


def test_a_run_goes_on_with_no_other_bands(begun: RunFolder) -> None:
    info = begun.read()
    dataset = info.dataset_card.with_bands(["a=VH"]).to_dict()
    other = RunInfo.model_validate(info.model_dump() | {"dataset": dataset})
    with pytest.raises(UserError, match=r"with another bands \({'a': .*VV.*, not "):
        begin(begun, other, resume=True, quiet=True)


def test_what_is_looked_at_may_change_until_a_run_has_finished(begun: RunFolder) -> None:
    watched = begun.read().model_copy(update={"options": Options(eval_every=3)})
    assert begin(begun, watched, resume=True, quiet=True).options == Options(eval_every=3)
    begun.write(begun.read().model_copy(update={"finished": True}))
    assert begin(begun, watched, resume=True, quiet=True).options == Options()
    with pytest.raises(UserError, match="exists here and has finished"):
        begin(begun, watched, resume=False, quiet=True)


def test_nothing_to_go_on_with_is_said(
    begun: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    info = begun.read()
    for quiet in (True, False):
        begin(RunFolder(tmp_path / f"new-{quiet}"), info, resume=True, quiet=quiet)
    said = capsys.readouterr().err
    assert "new-False: starting anew" in said and "new-True" not in said
    assert RunFolder(tmp_path / "new-True").read() == info
