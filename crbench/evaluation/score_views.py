"""Embeddings to scores and health, wherever that is asked for: here, on a GPU, by several ranks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from crbench.errors import UserError, unknown
from crbench.run.devices import device_name, pick_device
from crbench.run.progress import scoring_bar
from crbench.run.ranks import Ranks, threads_here
from crbench.scoring import Items, health, score_directions
from crbench.scoring.index import INDEX_KINDS

RESAMPLES = 1000


@dataclass(frozen=True)
class How:
    """Where scoring runs: ``device`` (auto, cpu, cuda, cuda:N), which rank this process is, and
    the kind of an ``approximate`` index (ivf, hnsw, flat; None: exact)."""

    device: str = "auto"
    ranks: Ranks = field(default_factory=Ranks)
    approximate: str | None = None
    quiet: bool = False

    def __post_init__(self) -> None:
        if self.approximate is None:
            return
        if self.approximate not in INDEX_KINDS:
            raise unknown("index", self.approximate, INDEX_KINDS, where="--approximate")
        if self.ranks.size > 1:
            raise UserError(
                "an approximate search runs in one process",
                where="torchrun",
                fix="start it without torchrun; FAISS uses all cores or GPUs by itself",
            )

    def chosen(self) -> torch.device:
        """The device of this process; of several GPUs, each rank takes one."""
        device = pick_device(self.device)
        if device.type == "cuda" and device.index is None and self.ranks.size > 1:
            return torch.device("cuda", self.ranks.local % torch.cuda.device_count())
        return device

    @property
    def silent(self) -> bool:
        """Whether this process shows no progress."""
        return self.quiet or not self.ranks.first


def score_views(
    arrays: Mapping[str, tuple[np.ndarray, np.ndarray]],
    query: Items,
    gallery: Items,
    *,
    label_kind: str,
    classes: Sequence[str],
    seed: int,
    how: How,
) -> dict[str, Any]:
    """What ``scoring.score_directions`` returns, with ``health``, ``approximate`` and ``device``.

    Every rank returns the same.
    """
    device = how.chosen()
    given: dict[str, Any] = {
        "label_kind": label_kind,
        "classes": classes,
        "resamples": RESAMPLES,
        "seed": seed,
    }
    with scoring_bar(len(arrays), how.silent) as progress:
        if how.approximate:
            from crbench.scoring.approximate import score_approximately

            result, facts = score_approximately(
                arrays, query, gallery, how.approximate, progress=progress, **given
            )
            result |= {"approximate": facts, "device": _faiss_device(facts)}
        else:
            ranker = None
            if device.type != "cpu":
                from crbench.evaluation.device_ranking import ranker_on

                ranker = ranker_on(device)
            result = score_directions(
                arrays,
                query,
                gallery,
                threads=threads_here(),
                progress=progress,
                engine=how.ranks.engine(ranker),
                **given,
            )
            name = device_name(device)
            if how.ranks.size > 1:
                name = f"{name}, {how.ranks.size} ranks"
            result |= {"approximate": None, "device": name}
    result["health"] = health(arrays, result["tied_share"])
    return result


def _faiss_device(facts: Mapping[str, Any]) -> str:
    gpus = max(parameters.get("gpus", 0) for parameters in facts["parameters"].values())
    return f"FAISS, {gpus} GPU" if gpus else "FAISS, cpu"
