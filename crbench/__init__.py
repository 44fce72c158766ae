"""crbench: cross-modal retrieval for remote sensing, with numbers that can be trusted."""

from __future__ import annotations

import os
from typing import Any

# OpenMP threads that wait by spinning starve each other where cores are shared: beside a few other
# processes on two cores, training fell to a tenth of its pace. Has effect where torch comes later.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

__version__ = "0.1.0"
__all__ = ["train", "evaluate", "load", "search"]


def __getattr__(name: str) -> Any:
    """``train``, ``evaluate``, ``load`` and ``search``: imported when first asked for."""
    if name == "train":
        from crbench.training.loop import train

        return train
    if name == "evaluate":
        from crbench.evaluation.evaluate import evaluate

        return evaluate
    if name == "load":
        from crbench.embedding.load import load

        return load
    if name == "search":
        from crbench.archive.search import search

        return search
    raise AttributeError(f"module 'crbench' has no attribute '{name}'")
