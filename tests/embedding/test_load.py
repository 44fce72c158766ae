"""A model from its weights file alone: it embeds as its run does, and damage is named."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import crbench
from crbench import train
from crbench.cards import load_method
from crbench.data.cache.reading import open_cache
from crbench.embedding.embedder import embed_run
from crbench.errors import UserError
from crbench.models.baselines import BandStats
from crbench.run.folder import RunFolder
from crbench.run.opened import open_run


def test_weights_embed_by_themselves(trained_run: Path, twin_cache: Path, tmp_path: Path) -> None:
    import h5py

    shutil.copy(trained_run / "weights.safetensors", tmp_path / "only.safetensors")
    torch.set_num_threads(RunFolder(trained_run).read().threads)
    model = crbench.load(tmp_path / "only.safetensors")
    data = open_cache(twin_cache)
    assert model.bands == {m: data.card.modality(m).bands for m in "ab"} and not model.best
    path = embed_run(open_run(trained_run), quiet=True)
    with h5py.File(path, "r") as file:
        ids = [name.decode() for name in file["ids"]]
        rows = [data.ids.tolist().index(name) for name in ids]
        for m in ("a", "b"):
            views = model.embed(np.asarray(data.images(m)[rows]), m)  # type: ignore[arg-type]
            assert set(views) == set(file[m])
            for view, found in views.items():
                np.testing.assert_allclose(found, file[f"{m}/{view}"][...], rtol=1e-5, atol=1e-6)
    with pytest.raises(UserError, match=r"must be \(B, 12, H, W\)"):
        model.embed(np.zeros((1, 3, 8, 8)), "b")


def test_a_method_without_parameters_embeds_by_itself(twin_cache: Path, tmp_path: Path) -> None:
    import h5py

    floor = train("band-stats", "ben-14k-twin", cache=twin_cache, out=tmp_path / "f", quiet=True)
    model, data = crbench.load(floor / "weights.safetensors"), open_cache(twin_cache)
    assert not list(model.model.parameters())
    with h5py.File(embed_run(open_run(floor), quiet=True), "r") as file:
        row = data.ids.tolist().index(file["ids"][0].decode())
        for view, found in model.embed(np.asarray(data.images("a")[row][None]), "a").items():
            np.testing.assert_allclose(found[0], file[f"a/{view}"][0], rtol=1e-4, atol=1e-5)


def test_what_is_no_weights_file_is_refused(tmp_path: Path, twin_cache: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "x.safetensors"
    with pytest.raises(UserError, match="weights cannot be loaded"):
        crbench.load(path)
    path.write_bytes(b"x" * 100)
    with pytest.raises(UserError, match="weights cannot be loaded"):
        crbench.load(path)
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(UserError, match="not written by crbench"):
        crbench.load(path)
    card = load_method("band-stats").to_dict() | {"class": f"{BandStats.__module__}:BandStats"}
    about = {"method": card, "bands": {"a": ["x"], "b": ["y"]}, "statistics": {}}
    save_file({"a": torch.zeros(1)}, path, metadata={"crbench": json.dumps(about)})
    with pytest.raises(UserError, match="unknown method class"):
        crbench.load(path)
