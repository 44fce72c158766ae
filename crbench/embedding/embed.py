"""``crbench embed``: every view of both modalities, once, into one file.

The file states what it was made from; it is taken again only where all of that is the same.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from crbench.data.cache.reading import Cache, encode
from crbench.data.pairs import Pairs
from crbench.embedding.embedder import embed_pairs, serving
from crbench.errors import UserError
from crbench.files import atomic_path, sha256_file, sha256_json
from crbench.models.base import Method
from crbench.models.registry import build_method
from crbench.records import Direction, Serves
from crbench.run.devices import device_name, full_precision, pick_device
from crbench.run.folder import RunFolder
from crbench.run.opened import about_weights, open_run_cache
from crbench.run.weights import load_weights
from crbench.words import MODALITIES

FORMAT = 2
PRECISION = "fp32"  # of every embedding, however the weights were trained


def load_run(run: RunFolder, device: torch.device) -> Method:
    """The trained model of a run, ready to embed on ``device``."""
    info = run.finished()
    bands: dict[str, int] = {m: len(info.dataset_card.modality(m).used) for m in MODALITIES}
    model = build_method(info.method_card, bands)
    load_weights(run.weights, model, about_weights(info))
    written = info.digests.get(run.which)
    if written and sha256_file(run.weights) != written:
        raise UserError(
            "the weights are damaged: they are not those that training wrote",
            where=run.weights,
            fix="restore the file, or train the run again",
        )
    return model.to(device).eval()


def stage_key(
    *,
    weights: str,
    method: str,
    dataset: str,
    cache: str,
    precision: str,
    device: str,
    splits: Iterable[str],
) -> str:
    """What embeddings follow from, as one digest: digests of the weights, of both cards and of the
    cache, the precision, the class of device (cpu, cuda) and the splits."""
    parts = [FORMAT, weights, method, dataset, cache, precision, device, sorted(set(splits))]
    return sha256_json(parts)


def scored_splits(data: Cache) -> list[str]:
    """All splits that a protocol of the card names."""
    protocols = data.card.protocols.values()
    return sorted({name for p in protocols for name in (*p.query, *p.gallery)})


def embed_run(
    run_path: str | Path,
    *,
    splits: list[str] | None = None,
    cache: str | Path | None = None,
    device: str = "auto",
    quiet: bool = False,
    weights: str = "last",
) -> Path:
    """Embed the pairs of ``splits`` (all that the card's protocols name) and return the file.

    ``weights`` are the last ones or the best ones that ``--keep-best`` kept.

    Layout: ``/ids``, ``/split``, ``/a/<view>`` and ``/b/<view>`` (N, R) float32.
    """
    run = RunFolder(Path(run_path), weights)
    info = run.finished()
    data = open_run_cache(info, cache)
    wanted = splits or scored_splits(data)
    chosen = pick_device(device)
    key = stage_key(
        weights=sha256_file(run.weights),
        method=info.method_card.digest,
        dataset=data.card.digest,
        cache=data.digest,
        precision=PRECISION,
        device=chosen.type,
        splits=wanted,
    )
    if stands(run.embeddings, key):
        return run.embeddings
    started = time.perf_counter()
    torch.set_num_threads(info.threads)
    full_precision()
    model = load_run(run, chosen)
    pairs = Pairs(data, wanted, image_size=model.image_size, device=str(chosen))
    size = info.method_card.train.eval_batch_size
    arrays: dict[str, np.ndarray] = {}
    for modality in MODALITIES:
        if any(modality in direction for direction in model.directions):
            label = f"embedding {data.card.modality(modality).name}"
            for view, array in embed_pairs(model, pairs, modality, size, label, quiet).items():
                arrays[f"{modality}/{view}"] = array
    write_embeddings(
        run.embeddings,
        data.ids[pairs.rows],
        arrays,
        serving(model),
        split=data.split[pairs.rows],
        key=key,
        seconds=time.perf_counter() - started,
        device=device_name(chosen),
    )
    return run.embeddings


def write_embeddings(
    path: Path,
    ids: np.ndarray,
    arrays: Mapping[str, np.ndarray],
    serves: Mapping[Direction, Serves],
    *,
    split: np.ndarray | None = None,
    about: Mapping[str, Any] | None = None,
    key: str = "",
    seconds: float = 0.0,
    device: str = "",
) -> None:
    """Write ``ids`` (N,) and ``arrays`` ``<modality>/<view>`` (N, R), each block with a checksum,
    and which view serves what; ``about`` says where they come from."""
    with atomic_path(path) as temporary, h5py.File(temporary, "w") as file:
        file["ids"] = encode(ids.tolist())
        if split is not None:
            file["split"] = encode(split.tolist())
        for name, array in arrays.items():
            file.create_dataset(name, data=array, fletcher32=True)
        file.attrs.update({"format": FORMAT, "seconds": seconds})
        served = json.dumps({d: s.model_dump() for d, s in serves.items()})
        texts = {"key": key, "device": device, "serves": served, "about": json.dumps(about or {})}
        for name, text in texts.items():
            file.attrs[name] = np.bytes_(text.encode() or b" ")  # of fixed length: see vector_files


def stands(path: Path, key: str) -> bool:
    """Whether there is a file of embeddings that was made from what ``key`` says, and is sound."""
    try:
        with h5py.File(path, "r") as file:
            if bytes(file.attrs["key"]).decode() != key:
                return False
            for array in (array for m in MODALITIES if m in file for array in file[m].values()):
                array[...]  # its checksum is compared
            return True
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, AttributeError):
        return False
