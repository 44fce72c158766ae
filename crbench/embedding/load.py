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
from crbench.data.normalise import band_tensors, normalise
from crbench.errors import UserError
from crbench.models.base import Method
from crbench.models.registry import build_method, check_class
from crbench.run.weights import load_weights, whole_about
from crbench.words import Modality


@dataclass(frozen=True)
class Loaded:
    """A trained model that embeds native images.

    ``bands`` names the bands that each modality ("a", "b") expects, in their order;
    ``statistics`` holds ``mean`` and ``std`` of each band in stored units; ``best`` says of which
    epoch the weights are where ``--keep-best`` kept them, and is empty for the last ones.
    """

    model: Method
    bands: Mapping[str, list[str]]
    statistics: Mapping[str, Mapping[str, list[float]]]
    best: Mapping[str, Any]
    device: torch.device

    @torch.no_grad()
    def embed(self, images: np.ndarray | Tensor, modality: Modality) -> dict[str, np.ndarray]:
        """Every view of ``images`` (B, C, H, W), any real dtype, in stored units and the order of
        ``bands``: ``{view: (B, R) float32}``, of any length. They are normalised and resized here.
        """
        pixels = torch.as_tensor(np.asarray(images).astype(np.float32))
        expected = len(self.bands[modality])
        if pixels.ndim != 4 or pixels.shape[1] != expected:
            raise UserError(
                f"images of modality {modality} must be (B, {expected}, H, W), not "
                f"{tuple(pixels.shape)}",
                where=f"bands {' '.join(self.bands[modality])}",
            )
        mean, std = band_tensors(self.statistics[modality])
        ready = normalise(pixels, mean, std, self.model.image_size).to(self.device)
        found = self.model.embed(ready, modality)
        return {view: value.float().cpu().numpy() for view, value in found.items()}


def load(path: str | Path, *, device: str = "cpu", custom: bool = False) -> Loaded:
    """The model in a weights file (``weights.safetensors``), ready to embed; nothing else is read.

    ``custom`` allows a method class of another package, which is then imported; take it only for
    files that you trust. A file that is damaged or of no run is a UserError.
    """
    about = whole_about(path)
    card = parse(MethodCard, about["method"], where=f"card inside {path}")
    if not custom:
        check_class(card, path)
    bands = {str(m): [str(band) for band in names] for m, names in about["bands"].items()}
    model = build_method(card, {m: len(names) for m, names in bands.items()})
    load_weights(Path(path), model, {})
    chosen = torch.device(device)
    best = about.get("best", {})
    return Loaded(model.to(chosen).eval(), bands, about["statistics"], best, chosen)
