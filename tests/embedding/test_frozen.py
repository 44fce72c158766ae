"""Encoders of others: frozen, their weights read and never executed, all the way to a board."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from crbench.board.rows import boards
from crbench.board.writers import board_markdown
from crbench.cards import load_dataset
from crbench.cli import app
from crbench.data.cache import build
from crbench.data.cache.reading import open_cache
from crbench.data.sources import open_source
from crbench.embedding.frozen import build_frozen, embed_encoder
from crbench.errors import UserError
from crbench.evaluation.evaluate import evaluate

CARD = "ben-14k-twin"


NAME = "test_vit3"  # timm's own for tests: 160 pixels, 12 MB at most


def test_another_cache_embeds_again(
    twin_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the same card, by a frozen encoder; the weights of a run hold its cache's digest."""
    mine = open_cache(twin_cache)
    splits = {name: int((mine.split == name).sum()) for name in ("train", "val", "test")}
    card = load_dataset(CARD, overrides=[f"source.splits.{k}={n}" for k, n in splits.items()])
    named = dataclasses.replace(open_source(card), ids=[f"other-{name}" for name in mine.ids])
    monkeypatch.setattr(build, "open_source", lambda *_: named)
    other = build.build_cache(card, tmp_path / "other.h5", quiet=True)
    assert open_cache(other).card.digest == mine.card.digest
    assert open_cache(other).digest != mine.digest

    def made(cache: Path) -> int:
        words: dict[str, Any] = {"random_weights": True, "out": tmp_path / "e.h5", "quiet": True}
        return embed_encoder(f"timm:{NAME}", CARD, cache=cache, **words).stat().st_mtime_ns

    first, again, then = made(twin_cache), made(twin_cache), made(other)
    assert again == first != then


def test_an_untrained_encoder_goes_all_the_way_to_a_board(twin_cache: Path, tmp_path: Path) -> None:
    out = tmp_path / "e.h5"
    words = ["embed", "--encoder", f"timm:{NAME}", "--random-weights", "--dataset", CARD,
             "--cache", twin_cache, "--out", out]  # fmt: skip
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    assert f"next: crbench evaluate {out} --dataset {CARD}" in result.output.replace("\n", " ")
    before = out.stat().st_mtime_ns
    options = {"random_weights": True, "cache": twin_cache, "out": out, "quiet": True}
    assert embed_encoder(f"timm:{NAME}", CARD, **options).stat().st_mtime_ns == before
    assert embed_encoder(f"timm:{NAME}", CARD, seed=1, **options).stat().st_mtime_ns != before
    record = evaluate(out, dataset=CARD, cache=twin_cache, quiet=True)
    assert record.method.title == f"timm:{NAME}" and record.method.card["weights"] == "untrained"
    assert len(record.digests["weights"]) == 64 and record.training is None
    assert f"frozen encoder timm:{NAME}, weights: untrained" in board_markdown(boards([record]))


def test_local_weights_serve_both_modalities(tmp_path: Path) -> None:
    import timm
    from safetensors.torch import save_file

    torch.manual_seed(5)
    source = timm.create_model(NAME, pretrained=False)  # three channels and a classifier
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    torch.save(source.state_dict(), tmp_path / "w.pth")
    bands = {"a": 2, "b": 12}
    found = [
        build_frozen(NAME, bands, tmp_path / f"w.{end}", False, 0)[0]
        for end in ("safetensors", "pth")
    ]
    for model in found:
        state, own = source.state_dict(), model.state_dict()
        for m in "ab":
            same = [k for k in state if f"encoders.{m}.{k}" in own and "patch_embed" not in k]
            assert len(same) > 10
            assert all(torch.equal(state[k], own[f"encoders.{m}.{k}"]) for k in same)
        first = own["encoders.a.patch_embed.proj.weight"]
        wanted = timm.models.adapt_input_conv(2, state["patch_embed.proj.weight"])
        torch.testing.assert_close(first, wanted)
    out = [model.embed(torch.ones(2, 12, 160, 160), "b")["features"] for model in found]
    torch.testing.assert_close(out[0], out[1])
    other = timm.create_model("test_resnet", pretrained=False).state_dict()
    save_file(other, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match=f"do not fit {NAME}.*not in them"):
        build_frozen(NAME, bands, tmp_path / "other.safetensors", False, 0)
    few = {k: v for k, v in source.state_dict().items() if "blocks.1.mlp" not in k}
    save_file(few, tmp_path / "few.safetensors")
    with pytest.raises(UserError, match=r"not in them, e\.g\. blocks\.1\.mlp"):
        build_frozen(NAME, bands, tmp_path / "few.safetensors", False, 0)


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (Path("exploded"),)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_weights_are_never_executed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": Bomb()}, "w.pth")
    Path("w.bin").write_bytes(pickle.dumps(Bomb()))
    Path("w.safetensors").write_bytes(b"no")
    for name in ("w.pth", "w.bin", "w.safetensors"):
        with pytest.raises(UserError, match="cannot be read without running code"):
            build_frozen(NAME, {"a": 1, "b": 1}, name, False, 0)
    assert not Path("exploded").exists()


def test_encoders_that_cannot_be_had(
    twin_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    out = tmp_path / "o.h5"

    def embed(encoder: str, **options: Any) -> None:
        embed_encoder(encoder, CARD, cache=twin_cache, out=out, quiet=True, **options)

    with pytest.raises(UserError, match="cannot be had here") as caught:
        embed(f"timm:{NAME}.r160_in1k")
    assert "--weights FILE" in str(caught.value) and "--random-weights" in str(caught.value)
    with pytest.raises(UserError, match="timm has no model 'vit_smal_patch16_224'") as caught:
        embed("timm:vit_smal_patch16_224")
    assert "vit_small_patch16_224" in str(caught.value)
    with pytest.raises(UserError, match="is no encoder"):
        embed("dino")
    with pytest.raises(UserError, match="no such weights file"):
        embed(f"timm:{NAME}", weights=tmp_path / "none.pth")
    with pytest.raises(UserError, match="exclude each other"):
        embed(f"timm:{NAME}", weights="x", random_weights=True)
    assert not out.exists()
