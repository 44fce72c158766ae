"""``crbench embed``: every view of both modalities, once, into one file.

The file states what it was made from (weights, card, cache, splits); ``evaluate`` takes it
again only where all of that is the same.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from crbench.data.cache import Cache, open_cache
from crbench.data.pairs import Pairs
from crbench.errors import UserError
from crbench.files import atomic_path, sha256_file, sha256_json
from crbench.models.base import MODALITIES, Method, Modality
from crbench.models.registry import build
from crbench.runs.checkpoint import load_weights
from crbench.runs.folder import RunFolder, RunInfo
from crbench.runs.train import band_counts, pick_device

FORMAT = 1


def load_run(run: RunFolder, data: Cache, device: torch.device) -> Method:
    """The trained model of a run, ready to embed on ``device``."""
    model = build(run.finished().method_card, band_counts(data))
    load_weights(run.weights, model)
    return model.to(device).eval()


def open_run_cache(info: RunInfo, cache: str | Path | None) -> Cache:
    """The cache that a run was trained on; another one is a UserError."""
    data = open_cache(Path(cache or info.cache))
    if data.digest != info.cache_digest:
        raise UserError(
            "this cache is not the one that the run was trained on",
            where=data.path,
            fix=f"give the cache with digest {info.cache_digest[:12]}… by --cache",
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
    """Embed the pairs of ``splits`` (those of the default protocol) and return the file.

    Layout: ``/ids``, ``/split``, ``/a/<view>`` and ``/b/<view>`` (N, R) float32.
    """
    run = RunFolder(Path(run_path))
    info = run.finished()
    data = open_run_cache(info, cache)
    protocol = data.card.protocols[data.card.protocol]
    wanted = sorted(set(splits or [*protocol.query, *protocol.gallery]))
    key = sha256_json(
        [FORMAT, sha256_file(run.weights), info.method_card.digest, data.digest, wanted]
    )
    if stored_key(run.embeddings) == key:
        return run.embeddings
    chosen = pick_device(device)
    torch.set_num_threads(info.threads)
    model = load_run(run, data, chosen)
    pairs = Pairs(data, wanted, image_size=model.image_size, device=str(chosen))
    size = info.method_card.train.eval_batch_size
    with atomic_path(run.embeddings) as temporary, h5py.File(temporary, "w") as file:
        file["ids"] = data.ids[pairs.rows].astype(bytes)
        file["split"] = data.split[pairs.rows].astype(bytes)
        for modality in MODALITIES:
            label = f"embedding {data.card.modality(modality).name}"
            for view, array in embed_pairs(model, pairs, modality, size, label, quiet).items():
                file[f"{modality}/{view}"] = array
        file.attrs.update({"format": FORMAT, "key": key, "run": str(run.path.name)})
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
