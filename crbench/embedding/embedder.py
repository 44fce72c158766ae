"""The one way from images to vectors: threads, precision, device, modes and progress in one place.

Training's validation, ``evaluate``, ``search``, probes, frozen encoders, images of one's own and
``crbench.load`` embed by it. :func:`embed_run` leaves the file that evaluation reads.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch import Tensor, nn

from crbench.data.cache.reading import Cache
from crbench.data.pairs import Pairs
from crbench.embedding.file import is_current, stage_key, write_embeddings
from crbench.files import sha256_file
from crbench.models.base import Method
from crbench.progress import watched
from crbench.records import Direction, Serves
from crbench.run.devices import device_name, full_precision, pick_device
from crbench.run.folder import RunFolder, RunInfo
from crbench.run.opened import OpenedRun, trained_model
from crbench.words import MODALITIES, ROLES, Modality

PRECISION = "fp32"  # of every embedding, however the weights were trained


class Images(Protocol):
    """What can be embedded: of a known number, normalised and at the model's size."""

    def __len__(self) -> int: ...

    def images(self, modality: str, positions: np.ndarray) -> Tensor:
        """Images (B, C, S, S) float32 on the device, at ``positions`` in 0…len−1."""


class Embedder:
    """A model that embeds on its device, ``batch_size`` images at a time, in full precision.

    ``model`` needs ``embed(images, modality)`` and ``directions`` alone, for a file ``view`` too.
    """

    def __init__(
        self,
        model: nn.Module,
        device: torch.device,
        *,
        batch_size: int,
        quiet: bool = True,
    ) -> None:
        full_precision()
        self.model = cast(Method, model.to(device))
        self.device, self.batch_size, self.quiet = device, batch_size, quiet

    @classmethod
    def of_run(
        cls, folder: RunFolder, info: RunInfo, device: torch.device, *, quiet: bool = True
    ) -> Embedder:
        """The trained model of a finished run, with the run's batch size, and its threads for the
        whole process, as torch has them."""
        torch.set_num_threads(info.threads)
        size = info.method_card.train.eval_batch_size
        model = trained_model(folder, info, device)
        return cls(model, device, batch_size=size, quiet=quiet)

    @property
    def modalities(self) -> list[Modality]:
        """The modalities that the model sees."""
        return [m for m in MODALITIES if any(m in direction for direction in self.model.directions)]

    def embed(self, images: Images, modality: Modality, label: str = "") -> dict[str, np.ndarray]:
        """Every view of all ``images`` of one modality: ``{view: (N, R) float32}``, any length."""
        blocks: dict[str, list[np.ndarray]] = {}
        starts = range(0, len(images), self.batch_size)
        with self._evaluating():
            for start in watched(starts, f"embedding {label}", "batches", quiet=self.quiet):
                positions = np.arange(start, min(start + self.batch_size, len(images)))
                views = self.model.embed(images.images(modality, positions), modality)
                for view, vectors in views.items():
                    blocks.setdefault(view, []).append(vectors.float().cpu().numpy())
        return {view: np.concatenate(parts) for view, parts in blocks.items()}

    def embed_pairs(self, pairs: Pairs, cache: Cache) -> dict[str, np.ndarray]:
        """Every view of each modality that the model sees: ``{"a/<view>": (N, R) float32}``."""
        return {
            f"{modality}/{view}": vectors
            for modality in self.modalities
            for view, vectors in self.embed(
                pairs, modality, cache.card.modality(modality).name
            ).items()
        }

    @contextlib.contextmanager
    def _evaluating(self) -> Iterator[None]:
        """The model in its evaluation mode, without gradients; afterwards it is as it was, and no
        random number was drawn."""
        modes = [(module, module.training) for module in self.model.modules()]
        devices = [self.device] if self.device.type == "cuda" else []
        self.model.eval()
        try:
            with torch.random.fork_rng(devices), torch.no_grad():
                yield
        finally:
            for module, training in modes:
                module.training = training


def serving(model: Method) -> dict[Direction, Serves]:
    """Which view serves the queries and the gallery of each direction."""
    return {
        cast(Direction, direction): Serves(
            **{
                role: model.view(cast(Modality, modality), direction, role)
                for modality, role in zip(direction, ROLES, strict=True)
            }
        )
        for direction in model.directions
    }


def scored_splits(data: Cache) -> list[str]:
    """All splits that a protocol of the card names."""
    protocols = data.card.protocols.values()
    return sorted({name for p in protocols for name in (*p.query, *p.gallery)})


def embed_run(
    run: OpenedRun,
    *,
    splits: Sequence[str] | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> Path:
    """Embed the pairs of ``splits`` (all that the card's protocols name) and return the file.

    A file that was made from the same weights, cards, pixels and splits is taken as it is.
    """
    chosen = pick_device(device)
    return embed_cache(
        run.folder.embeddings,
        run.cache,
        splits or scored_splits(run.cache),
        chosen,
        weights=sha256_file(run.folder.weights),
        method=run.info.method_card.digest,
        make=lambda: Embedder.of_run(run.folder, run.info, chosen, quiet=quiet),
    )


def embed_cache(
    file: Path,
    data: Cache,
    splits: Sequence[str],
    device: torch.device,
    *,
    weights: str,
    method: str,
    make: Callable[[], Embedder],
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Embed the pairs of ``splits`` by the model that ``make`` gives, and return the ``file``.

    ``weights`` and ``method`` are digests of what the model is. A file that was made from the same
    is taken as it is; ``about`` says in it where its vectors come from.
    """
    key = stage_key(
        weights=weights,
        method=method,
        dataset=data.card.digest,
        cache=data.digest,
        precision=PRECISION,
        device=device.type,
        splits=splits,
    )
    if is_current(file, key):
        return file
    started = time.perf_counter()
    embedder = make()
    pairs = Pairs(data, splits, image_size=embedder.model.image_size, device=device)
    write_embeddings(
        file,
        data.ids[pairs.rows],
        embedder.embed_pairs(pairs, data),
        serving(embedder.model),
        split=data.split[pairs.rows],
        about=about,
        key=key,
        seconds=time.perf_counter() - started,
        device=device_name(device),
    )
    return file
