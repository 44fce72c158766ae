"""Embedding: made again when anything differs, of other images, by encoders of others."""

from __future__ import annotations

import dataclasses
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from crbench import train
from crbench.board.markdown import board_markdown
from crbench.board.rows import boards
from crbench.cards import load_dataset
from crbench.cli import app
from crbench.data.cache import build
from crbench.data.cache.reading import open_cache
from crbench.data.sources import open_source
from crbench.embedding.embedder import embed_run, scored_splits
from crbench.embedding.file import read_embeddings, stage_key
from crbench.embedding.frozen import build_frozen, embed_encoder
from crbench.embedding.images import embed_images
from crbench.errors import UserError
from crbench.evaluation.evaluate import evaluate
from crbench.run.opened import open_run

CARD = "ben-14k-twin"
NAME = "test_vit3"  # timm's own for tests: 160 pixels, 12 MB at most
PARTS: dict[str, Any] = {
    "weights": "w", "method": "m", "dataset": "d", "cache": "c", "precision": "fp32",
    "device": "cpu", "splits": ["test", "val"],
}  # fmt: skip


@pytest.mark.parametrize("part", PARTS)
def test_every_part_of_the_key_counts(part: str) -> None:
    other = PARTS | {part: ["test"] if part == "splits" else "x"}
    assert stage_key(**other) != stage_key(**PARTS)
    assert stage_key(**PARTS | {"splits": ["val", "test", "val"]}) == stage_key(**PARTS)


@pytest.fixture
def copy(trained_run: Path, tmp_path: Path) -> Path:
    """A copy of the trained run, embedded."""
    embed_run(open_run(trained_run), quiet=True)
    return Path(shutil.copytree(trained_run, tmp_path / "copy"))


def mtime(run: Path) -> int:
    return embed_run(open_run(run), quiet=True).stat().st_mtime_ns


def edit(run: Path, change: Any) -> None:
    info = json.loads((run / "run.json").read_text())
    change(info)
    (run / "run.json").write_text(json.dumps(info))


def test_another_dataset_card_embeds_again(copy: Path) -> None:
    before = mtime(copy)
    assert mtime(copy) == before
    edit(copy, lambda info: info["dataset"].update(title="another"))
    assert mtime(copy) != before


def test_other_weights_embed_again(copy: Path, twin_cache: Path, tmp_path: Path) -> None:
    """The run of another seed in the same folder: cards and cache are the same."""
    before = mtime(copy)
    words = {"scale": "tiny", "epochs": 2, "cache": twin_cache, "quiet": True}
    other = train("cr-jepa", CARD, out=tmp_path / "other", seed=1, **words)
    for name in ("run.json", "weights.safetensors"):
        shutil.copy(other / name, copy / name)
    assert mtime(copy) != before


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


def test_a_damaged_array_is_embedded_again(copy: Path) -> None:
    file = embed_run(open_run(copy), quiet=True)
    sound = read_embeddings(file, open_cache_of(copy).ids).arrays["a/cross"]
    data = bytearray(file.read_bytes())
    data[bytes(data).index(sound.tobytes()[:64]) + 9] ^= 0xFF
    file.write_bytes(data)
    evaluate(copy, quiet=True)
    again = read_embeddings(file, open_cache_of(copy).ids).arrays["a/cross"]
    np.testing.assert_array_equal(again, sound)


def test_a_file_of_another_kind_in_its_place_is_replaced(copy: Path) -> None:
    for content in (b"", b"no HDF5", (copy / "embeddings.h5").read_bytes()[:3000]):
        (copy / "embeddings.h5").write_bytes(content)
        assert read_embeddings(
            embed_run(open_run(copy), quiet=True), open_cache_of(copy).ids
        ).arrays


def open_cache_of(run: Path) -> Any:
    return open_cache(json.loads((run / "run.json").read_text())["cache"])


def test_weights_of_another_run_are_refused(copy: Path, twin_cache: Path, tmp_path: Path) -> None:
    other = train("cr-jepa", CARD, scale="tiny", epochs=2, seed=1, cache=twin_cache,
                  out=tmp_path / "seed1", quiet=True)  # fmt: skip
    shutil.copy(other / "weights.safetensors", copy / "weights.safetensors")
    with pytest.raises(UserError, match="of another run: their seed differ") as caught:
        evaluate(copy, quiet=True)
    assert "weights.safetensors" in str(caught.value)


def test_images_of_the_cache_give_the_runs_embeddings(
    trained_run: Path, twin_cache: Path, tmp_path: Path
) -> None:
    """The whole cache, and one modality as a folder of .npy, against the run's own file."""
    with h5py.File(embed_run(open_run(trained_run), quiet=True)) as file:
        own = {name: file[name][...] for name in ("a/uni", "b/uni", "b/cross")}
        ids = [text.decode() for text in file["ids"][...]]
    cache = open_cache(twin_cache)
    whole = read_embeddings(
        embed_images(trained_run, twin_cache, out=tmp_path / "all.h5", quiet=True), cache.ids
    )
    assert list(whole.ids) == list(cache.ids) and set(whole.serves) == {"aa", "bb", "ab", "ba"}
    rows = whole.rows(np.array(ids))
    for name, array in own.items():
        np.testing.assert_allclose(whole.arrays[name][rows], array, atol=1e-5)
    (tmp_path / "photos").mkdir()
    for name in ids[:5]:
        row = int(np.flatnonzero(cache.ids == name)[0])
        np.save(tmp_path / "photos" / f"{name}.npy", cache.images("b")[row])
    words = ["embed", trained_run, "--images", tmp_path / "photos", "--modality", "b",
             "--out", tmp_path / "b.h5", "--quiet"]  # fmt: skip
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    some = read_embeddings(tmp_path / "b.h5", cache.ids)
    assert set(some.ids) == set(ids[:5]) and set(some.serves) == {"bb"}
    place = [ids.index(name) for name in some.ids]
    np.testing.assert_allclose(some.arrays["b/uni"], own["b/uni"][place], atol=1e-5)


def test_bands_of_a_geotiff_are_taken_by_name(
    trained_run: Path, twin_cache: Path, tmp_path: Path
) -> None:
    import rasterio

    from crbench.data.sources.bigearthnet.tiff import reading

    cache = open_cache(twin_cache)
    bands, pixels = cache.card.b.bands, np.asarray(cache.images("b")[0])

    def write(folder: str, order: list[int], named: bool = True) -> Path:
        path = tmp_path / folder / "x.tif"
        path.parent.mkdir()
        height, width = pixels.shape[1:]
        shape = {"count": len(order), "height": height, "width": width, "dtype": pixels.dtype}
        with reading(), rasterio.open(path, "w", driver="GTiff", **shape) as file:
            file.write(pixels[order])
            if named:
                file.descriptions = [bands[i] for i in order]
        return path.parent

    def embedded(folder: Path) -> np.ndarray:
        out = embed_images(trained_run, folder, modality="b", out=tmp_path / "x.h5", quiet=True)
        with h5py.File(out) as file:
            return np.asarray(file["b/uni"][...])

    straight = embedded(write("straight", list(range(len(bands))), named=False))
    backwards = embedded(write("backwards", list(range(len(bands)))[::-1]))
    np.testing.assert_array_equal(straight, backwards)
    few = write("few", list(range(2, len(bands))))
    with pytest.raises(UserError, match=f"needs the bands {bands[0]}, {bands[1]}, the file has"):
        embedded(few)
    with pytest.raises(UserError, match="the card says"):
        embedded(write("unnamed", [0, 1], named=False))


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (lambda p: p.mkdir(), {"modality": "b"}, "no image in this folder"),
        (lambda p: p.mkdir(), {}, "does not say of which modality"),
        (lambda p: p.mkdir(), {"modality": "c"}, "unknown modality 'c'"),
        (lambda p: None, {"modality": "b"}, "no such folder or cache"),
        (lambda p: p.write_bytes(b"text"), {}, "damaged or no cache"),
    ],
)
def test_images_that_cannot_be_embedded(
    make: Any, options: dict[str, str], message: str, trained_run: Path, tmp_path: Path
) -> None:
    make(tmp_path / "photos")
    with pytest.raises(UserError, match=message):
        embed_images(trained_run, tmp_path / "photos", out=tmp_path / "o.h5", quiet=True, **options)
    assert not (tmp_path / "o.h5").exists()


def test_an_image_of_another_size_or_type_is_named(trained_run: Path, tmp_path: Path) -> None:
    for name, array in (
        ("small.npy", np.ones((12, 8, 8), np.uint16)),
        ("float.npy", np.ones((12, 32, 32), np.float32)),
        ("objects.npy", np.array([{}], dtype=object)),
    ):
        folder = tmp_path / name
        folder.mkdir()
        np.save(folder / name, array, allow_pickle=True)
        with pytest.raises(UserError) as caught:
            embed_images(trained_run, folder, modality="b", out=tmp_path / "o.h5", quiet=True)
        assert name in str(caught.value)


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


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "name a run folder, or an --encoder"),
        (["r", "--encoder", "timm:x"], "name a run folder, or an --encoder"),
        (["r", "--weights", "w"], "--weights goes with --encoder alone"),
        (["r", "--modality", "a"], "--modality goes with --images alone"),
        (["--encoder", "timm:x", "--images", "d"], "--images goes with a run alone"),
        (["--encoder", "timm:x"], "name its card by --dataset"),
    ],
)
def test_options_that_do_not_go_together(words: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["embed", *words])
    assert result.exit_code == 2 and message in result.output


def test_every_split_that_a_protocol_names_is_embedded(twin_cache: Path) -> None:
    assert scored_splits(open_cache(twin_cache)) == ["test", "val"]
