"""A model from its weights file alone: cards, bands and normalisation stand inside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crbench.cards import MethodCard, parse
from crbench.data.unlabelled import Normalised, UnlabelledImages
from crbench.embedding.embedder import Embedder
from crbench.errors import UserError
from crbench.models.base import Method
from crbench.models.registry import build_method, check_class
from crbench.run.opened import Statistics, load_weights, read_statement
from crbench.words import Modality


@dataclass(frozen=True)
class Loaded:
    """A trained model that embeds native images.

    ``bands`` names the bands that each modality ("a", "b") expects, in their order;
    ``statistics`` holds ``mean`` and ``std`` of each band in stored units; ``best`` says of which
    epoch the weights are where ``--keep-best`` kept them, and is empty for the last ones.
    """

    embedder: Embedder
    bands: Mapping[str, list[str]]
    statistics: Statistics
    best: Mapping[str, Any]

    @property
    def model(self) -> Method:
        """The method, on its device."""
        return self.embedder.model

    def embed(self, images: np.ndarray | Tensor, modality: Modality) -> dict[str, np.ndarray]:
        """Every view of ``images`` (B, C, H, W), any real dtype, in stored units and the order of
        ``bands``: ``{view: (B, R) float32}``, of any length. They are normalised and resized here.
        """
        pixels = np.asarray(images)
        expected = len(self.bands[modality])
        if pixels.ndim != 4 or pixels.shape[1] != expected:
            raise UserError(
                f"images of modality {modality} must be (B, {expected}, H, W), not {pixels.shape}",
                where=f"bands {' '.join(self.bands[modality])}",
            )
        native = UnlabelledImages(
            np.arange(len(pixels)).astype(str), lambda positions: pixels[positions]
        )
        statistics, size = self.statistics[modality], self.model.image_size
        ready = Normalised(native, statistics, size, self.embedder.device)
        return self.embedder.embed(ready, modality)


def load(path: str | Path, *, device: str = "cpu", custom: bool = False) -> Loaded:
    """The model in a weights file (``weights.safetensors``), ready to embed; nothing else is read.

    ``custom`` allows a method class of another package, which is then imported; take it only for
    files that you trust. A file that is damaged or of no run is a UserError.
    """
    statement = read_statement(Path(path))
    if not {"method", "bands", "statistics"} <= statement.keys():
        raise UserError("these weights do not say what they are", where=path)
    card = parse(MethodCard, statement["method"], where=f"card inside {path}")
    if not custom:
        check_class(card, path)
    bands = {str(m): [str(band) for band in names] for m, names in statement["bands"].items()}
    model = build_method(card, {m: len(names) for m, names in bands.items()})
    load_weights(Path(path), model, {})
    size = card.train.eval_batch_size
    embedder = Embedder(model.eval(), torch.device(device), batch_size=size)
    return Loaded(embedder, bands, statement["statistics"], statement.get("best", {}))
