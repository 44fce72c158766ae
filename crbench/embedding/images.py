"""``crbench embed RUN --images``: a run's embeddings of images that are not its dataset."""

from __future__ import annotations

import time
from pathlib import Path
from typing import cast

import numpy as np

from crbench.data.cache.reading import open_cache
from crbench.data.unlabelled import Normalised, UnlabelledImages, cached_images, image_folder
from crbench.embedding.embedder import PRECISION, Embedder, serving
from crbench.embedding.file import write_embeddings
from crbench.errors import UserError, unknown
from crbench.files import check_writable, sha256_file
from crbench.run.devices import device_name, pick_device
from crbench.run.folder import RunFolder, RunInfo
from crbench.run.opened import read_statement
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
    that of the run's own dataset.

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
    embedder = Embedder.of_run(run, info, pick_device(device), quiet=quiet)
    if modality is not None and modality not in embedder.modalities:
        raise UserError(f"this run does not embed modality {modality}", where=run.path)
    wanted = embedder.modalities if modality is None else [cast(Modality, modality)]
    sources = {m: _source(images, m, info, alone=modality is not None) for m in wanted}
    statistics = info.statistics or read_statement(run.weights)["statistics"]
    started = time.perf_counter()
    arrays: dict[str, np.ndarray] = {}
    for m, source in sources.items():
        size = embedder.model.image_size
        pixels = Normalised(source, statistics[m], size, embedder.device)
        views = embedder.embed(pixels, m, info.dataset_card.modality(m).name)
        arrays |= {f"{m}/{view}": vectors for view, vectors in views.items()}
    weights = sha256_file(run.weights)
    about = {
        "encoder": f"{info.method_card.title} trained on {info.dataset_card.title}",
        "weights": f"seed {info.seed}, {weights[:12]}",
        "weights_digest": weights,
        "precision": PRECISION,
        "image_size": embedder.model.image_size,
        "images": images.name,
    }
    if images.is_file():
        about["cache_digest"] = open_cache(images).digest
    served = serving(embedder.model)
    write_embeddings(
        target,
        sources[wanted[0]].ids,
        arrays,
        {d: views for d, views in served.items() if set(d) <= set(wanted)},
        about=about,
        seconds=time.perf_counter() - started,
        device=device_name(embedder.device),
    )
    return target


def _source(images: Path, modality: str, info: RunInfo, *, alone: bool) -> UnlabelledImages:
    """The images at a path, as the run's card of ``modality`` takes them; ``alone``: a folder is
    said to hold this modality."""
    card = info.dataset_card.modality(modality)
    if images.is_file():
        return cached_images(images, modality, card)
    if not images.is_dir():
        raise UserError("no such folder or cache", where=images, fix="check the path")
    if not alone:
        sensors = ", ".join(f"{m} ({info.dataset_card.modality(m).name})" for m in MODALITIES)
        raise UserError("a folder does not say of which modality its images are", where=images,
                        fix=f"give --modality: {sensors}")  # fmt: skip
    return image_folder(images, card)
