"""crbench: cross-modal retrieval for remote sensing, with numbers that can be trusted."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path
from typing import Any

# OpenMP threads that wait by spinning starve each other where cores are shared: beside a few other
# processes on two cores, training fell to a tenth of its pace. Has effect where torch comes later.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
__all__ = ["train", "evaluate", "load", "search"]

_LATER = {  # imported when first asked for
    "evaluate": "crbench.evaluation.evaluate",
    "load": "crbench.embedding.load",
    "search": "crbench.archive.search",
}


def train(method: str, dataset: str, *, ranks: Any = None, **settings: Any) -> Path:
    """Train ``method`` on ``dataset`` and return the run's folder.

    ``settings`` are those of :class:`crbench.training.settings.TrainSettings`, e.g. ``scale``,
    ``seed``, ``out``; ``ranks`` the processes that share the training.
    """
    from crbench.training.loop import train_run
    from crbench.training.settings import TrainSettings

    return train_run(TrainSettings(method, dataset, **settings), ranks)


def __getattr__(name: str) -> Any:
    """``evaluate``, ``load`` and ``search``, from their modules."""
    if name in _LATER:
        return getattr(import_module(_LATER[name]), name)
    raise AttributeError(f"module 'crbench' has no attribute '{name}'")
