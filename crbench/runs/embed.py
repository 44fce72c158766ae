"""``crbench embed``: every view of both modalities, once, into one file.

The file states what it was made from (weights, card, cache, splits); ``evaluate`` takes it
again only where all of that is the same.
"""

from __future__ import annotations

import time
from pathlib import Path

import h5py
import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from crbench.data.cache import Cache, encode, open_cache
from crbench.data.pairs import Pairs
from crbench.errors import UserError
from crbench.files import atomic_path, sha256_file, sha256_json
from crbench.models.base import MODALITIES, Method, Modality
from crbench.models.registry import build
from crbench.runs.checkpoint import load_weights
from crbench.runs.devices import device_name, full_precision, pick_device
from crbench.runs.folder import RunFolder, RunInfo
from crbench.runs.train import band_counts, statistics

FORMAT = 1


def load_run(run: RunFolder, data: Cache, device: torch.device) -> Method:
    """The trained model of a run, ready to embed on ``device``."""
    model = build(run.finished().method_card, band_counts(data))
    load_weights(run.weights, model)
    return model.to(device).eval()


def open_run_cache(info: RunInfo, cache: str | Path | None) -> Cache:
    """The cache that a run was trained on; another one is a UserError."""
    data = open_cache(Path(cache or info.cache), info.dataset_card)
    if data.digest != info.cache_digest:
        raise UserError(
            "this cache is not the one that the run was trained on",
            where=data.path,
            fix=f"give the cache with digest {info.cache_digest[:12]}… by --cache",
        )
    if info.statistics and info.statistics != statistics(data):
        raise UserError(
            "this cache normalises its images otherwise than when the run was trained",
            where=data.path,
            fix="build the cache with the card that the run was trained on",
        )
    return data


def embed_run(
    run_path: str | Path,
    *,
    splits: list[str] | None = None,
    cache: str | Path | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> Path:
    """Embed the pairs of ``splits`` (all that the card's protocols name) and return the file.

    Layout: ``/ids``, ``/split``, ``/a/<view>`` and ``/b/<view>`` (N, R) float32.
    """
    run = RunFolder(Path(run_path))
    info = run.finished()
    data = open_run_cache(info, cache)
    named = [name for p in data.card.protocols.values() for name in (*p.query, *p.gallery)]
    wanted = sorted(set(splits or named))
    key = sha256_json(
        [FORMAT, sha256_file(run.weights), info.method_card.digest, data.digest, wanted]
    )
    if stored_key(run.embeddings) == key:
        return run.embeddings
    chosen = pick_device(device)
    torch.set_num_threads(info.threads)
    full_precision()
    model = load_run(run, data, chosen)
    pairs = Pairs(data, wanted, image_size=model.image_size, device=str(chosen))
    size = info.method_card.train.eval_batch_size
    with atomic_path(run.embeddings) as temporary, h5py.File(temporary, "w") as file:
        started = time.perf_counter()
        file["ids"] = encode(data.ids[pairs.rows].tolist())
        file["split"] = encode(data.split[pairs.rows].tolist())
        for modality in MODALITIES:
            if not any(modality in direction for direction in model.directions):
                continue
            label = f"embedding {data.card.modality(modality).name}"
            for view, array in embed_pairs(model, pairs, modality, size, label, quiet).items():
                file[f"{modality}/{view}"] = array
        file.attrs.update({"format": FORMAT, "key": key, "run": str(run.path.name)})
        file.attrs["seconds"] = time.perf_counter() - started
        file.attrs["device"] = device_name(chosen)
    return run.embeddings


@torch.no_grad()
def embed_pairs(
    model: Method, pairs: Pairs, modality: Modality, size: int, label: str, quiet: bool
) -> dict[str, np.ndarray]:
    """Every view of one modality of ``pairs``: ``{view: (N, R) float32}``."""
    blocks: dict[str, list[np.ndarray]] = {}
    starts = range(0, len(pairs), size)
    for start in track(starts, label, console=Console(stderr=True), disable=quiet, transient=True):
        positions = np.arange(start, min(start + size, len(pairs)))
        for view, found in model.embed(pairs.images(modality, positions), modality).items():
            blocks.setdefault(view, []).append(found.float().cpu().numpy())
    return {view: np.concatenate(parts) for view, parts in blocks.items()}


def stored_key(path: Path) -> str | None:
    """What an embeddings file was made from; None where there is none or it is damaged."""
    try:
        with h5py.File(path, "r") as file:
            return str(file.attrs["key"])
    except (OSError, KeyError):
        return None
