"""``crbench embed RUN --images``: a run's embeddings of images that are not its dataset."""

from __future__ import annotations

import time
from pathlib import Path
from typing import cast

import numpy as np
import torch

from crbench.data.cache.reading import open_cache
from crbench.data.unlabelled import Images, Normalised, cached_images, image_folder
from crbench.embedding.embed import PRECISION, load_run, write_embeddings
from crbench.embedding.embedder import embed_pairs, serving
from crbench.errors import UserError, unknown
from crbench.files import check_writable, sha256_file
from crbench.run.devices import device_name, full_precision, pick_device
from crbench.run.folder import RunFolder
from crbench.run.weights import read_about
from crbench.words import MODALITIES, Modality


def embed_images(
    run_path: str | Path,
    images: str | Path,
    *,
    modality: str | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> Path:
    """Embed a folder of images, or a cache, with a finished run; returns the file, laid out as
    :func:`crbench.embedding.embed.embed_run` does.

    A folder holds images of one ``modality`` (a or b, needed), a cache of both. They are normalised
    by the statistics of the run's training split, which travel in its weights.
    """
    run, images = RunFolder(Path(run_path)), Path(images)
    info = run.finished()
    if modality is not None and modality not in MODALITIES:
        raise unknown("modality", modality, MODALITIES, where="--modality")
    target = Path(out) if out else run.path / f"embeddings-{images.stem or 'images'}.h5"
    if target == run.embeddings:
        raise UserError("this file is of the run's own dataset", where=target,
                        fix="choose another --out")  # fmt: skip
    check_writable(target)
    chosen = pick_device(device)
    torch.set_num_threads(info.threads)
    full_precision()
    model = load_run(run, chosen)
    able = [m for m in MODALITIES if any(m in direction for direction in model.directions)]
    if modality is not None and modality not in able:
        raise UserError(f"this run does not embed modality {modality}", where=run.path)
    wanted = able if modality is None else [cast(Modality, modality)]
    found: dict[Modality, Images] = {}
    for m in wanted:
        card = info.dataset_card.modality(m)
        if images.is_dir():
            if modality is None:
                sensors = ", ".join(
                    f"{m} ({info.dataset_card.modality(m).name})" for m in MODALITIES
                )
                raise UserError("a folder does not say of which modality its images are",
                                where=images, fix=f"give --modality: {sensors}")  # fmt: skip
            found[m] = image_folder(images, card)
        elif images.is_file():
            found[m] = cached_images(images, m, card)
        else:
            raise UserError("no such folder or cache", where=images, fix="check the path")
    statistics = info.statistics or read_about(run.weights)["statistics"]
    started = time.perf_counter()
    arrays: dict[str, np.ndarray] = {}
    size = info.method_card.train.eval_batch_size
    for m, source in found.items():
        pixels = Normalised(source, statistics[m], model.image_size, chosen)
        label = f"embedding {info.dataset_card.modality(m).name}"
        for view, array in embed_pairs(model, pixels, m, size, label, quiet).items():
            arrays[f"{m}/{view}"] = array
    weights = sha256_file(run.weights)
    about = {
        "encoder": f"{info.method_card.title} trained on {info.dataset_card.title}",
        "weights": f"seed {info.seed}, {weights[:12]}",
        "weights_digest": weights,
        "precision": PRECISION,
        "image_size": model.image_size,
        "images": images.name,
    }
    if images.is_file():
        about["cache_digest"] = open_cache(images).digest
    write_embeddings(
        target,
        found[wanted[0]].ids,
        arrays,
        {d: served for d, served in serving(model).items() if set(d) <= set(wanted)},
        about=about,
        seconds=time.perf_counter() - started,
        device=device_name(chosen),
    )
    return target
