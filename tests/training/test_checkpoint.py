"""Checkpoints: sealed, atomic, numbered; damage is named and the one before it taken."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from crbench import train
from crbench.errors import UserError
from crbench.files import sha256_file
from crbench.run.folder import Options
from crbench.training.checkpoint import load_latest, load_state, older, save_state, tidy

Once = Callable[[str, Callable[[Path], object]], Path]


def machine() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Linear(8, 4)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(2, 8)).sum().backward()
    optimizer.step()
    return model, optimizer


def saved(folder: Path, step: int = 3, keep: int = 1) -> Path:
    path = folder / "checkpoint.pt"
    save_state(path, *machine(), {"step": step, "best": {"value": 0.5}}, keep)
    return path


def weights(model: nn.Module) -> list[torch.Tensor]:
    return [value.clone() for value in model.state_dict().values()]


def test_a_state_comes_back_whole(tmp_path: Path) -> None:
    path = saved(tmp_path)
    model, optimizer = machine()
    want = weights(model)
    moments = optimizer.state_dict()["state"][0]["exp_avg"].clone()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    fresh = torch.optim.AdamW(model.parameters())
    torch.manual_seed(99)
    assert load_state(path, model, fresh) == {"step": 3, "best": {"value": 0.5}}
    assert all(torch.equal(a, b) for a, b in zip(weights(model), want, strict=True))
    assert torch.equal(fresh.state_dict()["state"][0]["exp_avg"], moments)
    noise = torch.rand(3)  # the generator is where it was at saving
    machine()
    assert torch.equal(torch.rand(3), noise)


def test_every_flipped_byte_and_every_cut_is_refused_by_name(tmp_path: Path) -> None:
    path = saved(tmp_path)
    whole = path.read_bytes()
    model, optimizer = machine()
    before = weights(model)
    places = [*range(0, len(whole), 61), *range(len(whole) - 80, len(whole))]
    for place in places:
        damaged = bytearray(whole)
        damaged[place] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(UserError, match="damaged") as caught:
            load_state(path, model, optimizer)
        assert caught.value.where == str(path), place
    for size in (0, 1, 70, 500, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(UserError, match="damaged"):
            load_state(path, model, optimizer)
    assert all(torch.equal(a, b) for a, b in zip(weights(model), before, strict=True))


def test_a_state_without_a_seal_from_before_still_loads(tmp_path: Path) -> None:
    model, optimizer = machine()
    state = {"format": 1, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
    state |= {"rng": torch.get_rng_state(), "position": {"step": 1}}
    torch.save(state, tmp_path / "checkpoint.pt")
    assert load_state(tmp_path / "checkpoint.pt", model, optimizer) == {"step": 1}


@pytest.mark.parametrize("links", [True, False])
def test_the_newest_states_keep_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def none(*_: object) -> None:
        raise PermissionError("a file system without links")

    if not links:
        monkeypatch.setattr("os.link", none)
    for step in (5, 10, 15, 20):
        path = saved(tmp_path, step, keep=3)
    names = ["checkpoint-000000020.pt", "checkpoint-000000015.pt", "checkpoint-000000010.pt"]
    assert [p.name for p in older(path)] == names
    heard: list[str] = []
    path.unlink()  # where the file system linked them, 20 shares its bytes
    (tmp_path / names[0]).write_bytes(b"cut")
    position = load_latest(path, *machine(), heard.append)
    assert position is not None and position["step"] == 15
    assert len(heard) == 1 and names[0] in heard[0] and names[1] in heard[0]
    for other in older(path):
        other.write_bytes(b"cut")
    with pytest.raises(UserError, match="damaged"):
        load_latest(path, *machine(), heard.append)
    tidy(tmp_path, finished=True)
    assert not list(tmp_path.iterdir())
    assert load_latest(path, *machine(), heard.append) is None


def stopped(cache: Path, out: Path, keep: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of three epochs that ends in the third, with a checkpoint at every step."""
    real = save_state

    def after_ten(path: Path, *rest: object) -> None:
        real(path, *rest)  # type: ignore[arg-type]
        if rest[2]["step"] == 10:  # type: ignore[index]
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("crbench.training.loop.CHECKPOINT_EVERY_S", 0.0)
        patch.setattr("crbench.training.loop.save_state", after_ten)
        go(cache, out, keep)


def go(cache: Path, out: Path, keep: int = 1, resume: bool = False) -> Path:
    return train(
        "rejepa", "ben-14k-twin", scale="tiny", epochs=3, overrides=["train.batch_size=24"],
        cache=cache, out=out, quiet=True, resume=resume, options=Options(keep_last=keep),
    )  # fmt: skip


@pytest.fixture(scope="module")
def whole(twin_cache: Path, once: Once) -> Path:
    """A run that nothing interrupted."""
    return once("rejepa-whole", lambda folder: go(twin_cache, folder / "run")) / "run"


@pytest.mark.soak
def test_a_damaged_checkpoint_costs_the_way_from_the_one_before_it(
    twin_cache: Path,
    whole: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    out = tmp_path / "out"
    stopped(twin_cache, out, 2, monkeypatch)
    checkpoint = out / "checkpoint.pt"
    assert os.path.samefile(checkpoint, out / "checkpoint-000000010.pt")
    one, none = tmp_path / "one", tmp_path / "none"
    shutil.copytree(out, one)
    damaged = bytearray(checkpoint.read_bytes())
    damaged[len(damaged) // 3] ^= 1
    checkpoint.write_bytes(damaged)  # through the link: both names hold these bytes
    go(twin_cache, out, 2, resume=True)
    said = capsys.readouterr().err
    assert "digest differs" in said and str(checkpoint) in said and "-000000009.pt" in said
    assert sha256_file(out / "weights.safetensors") == sha256_file(whole / "weights.safetensors")
    assert not list(out.glob("checkpoint*"))

    for path in one.glob("checkpoint-*.pt"):
        path.unlink()
    shutil.copytree(one, none)
    damaged = bytearray((one / "checkpoint.pt").read_bytes())
    (one / "checkpoint.pt").write_bytes(damaged[:-300])
    with pytest.raises(UserError, match="damaged") as caught:
        go(twin_cache, one, resume=True)
    assert str(one / "checkpoint.pt") in str(caught.value) and "anew" in str(caught.value)
    (one / "checkpoint.pt").unlink()  # what the message says
    go(twin_cache, one, resume=True)
    assert sha256_file(one / "weights.safetensors") == sha256_file(whole / "weights.safetensors")


def test_a_cache_that_vanished_is_named_and_the_run_waits_for_it(
    twin_cache: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, out = tmp_path / "twin.h5", tmp_path / "out"
    shutil.copy(twin_cache, cache)
    stopped(cache, out, 1, monkeypatch)
    cache.rename(tmp_path / "elsewhere.h5")
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(UserError, match="no such cache") as caught:
        go(cache, out, resume=True)
    assert str(cache) in str(caught.value)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    go(tmp_path / "elsewhere.h5", out, resume=True)
    assert sha256_file(out / "weights.safetensors") == sha256_file(whole / "weights.safetensors")


def test_a_cache_that_is_removed_during_training_is_no_matter(
    twin_cache: Path, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from crbench.training.journal import Journal

    cache = tmp_path / "twin.h5"
    shutil.copy(twin_cache, cache)
    real = Journal.step

    def remove(watch: Journal, found: dict, step: object) -> None:
        cache.unlink(missing_ok=True)
        real(watch, found, step)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "step", remove)
        out = go(cache, tmp_path / "out")
    assert not cache.exists()
    assert sha256_file(out / "weights.safetensors") == sha256_file(whole / "weights.safetensors")
