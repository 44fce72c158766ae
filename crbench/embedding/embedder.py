"""A model's embeddings of some pairs, and which of its views serves which direction."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from rich.console import Console
from rich.progress import track

from crbench.models.base import Method
from crbench.records import Direction, Serves
from crbench.words import Modality


@torch.no_grad()
def embed_pairs(
    model: Method, pairs: Any, modality: Modality, size: int, label: str, quiet: bool
) -> dict[str, np.ndarray]:
    """Every view of one modality of ``pairs``: ``{view: (N, R) float32}``.

    ``pairs`` has a length and ``images(modality, positions)``, as ``data.pairs.Pairs``.
    """
    blocks: dict[str, list[np.ndarray]] = {}
    starts = range(0, len(pairs), size)
    for start in track(starts, label, console=Console(stderr=True), disable=quiet, transient=True):
        positions = np.arange(start, min(start + size, len(pairs)))
        for view, found in model.embed(pairs.images(modality, positions), modality).items():
            blocks.setdefault(view, []).append(found.float().cpu().numpy())
    return {view: np.concatenate(parts) for view, parts in blocks.items()}


def serving(model: Method) -> dict[Direction, Serves]:
    """Which view serves the queries and the gallery of each direction."""
    return {
        cast(Direction, direction): Serves(
            query=model.view(_modality(direction[0]), direction, "query"),
            gallery=model.view(_modality(direction[1]), direction, "gallery"),
        )
        for direction in model.directions
    }


def _modality(letter: str) -> Modality:
    return "a" if letter == "a" else "b"
