"""How much memory a process took at most."""

from __future__ import annotations

import torch

from crbench import machine as provenance


def peak_memory(stage: str, device: torch.device) -> dict[str, float]:
    """GiB: ``<stage>_rss``, resident in this process so far, and ``<stage>_gpu``, allocated there.

    Both count everything that the process has done up to now.
    """
    found = {f"{stage}_rss": round(provenance.peak_rss_gib(), 3)}
    if device.type == "cuda":
        found[f"{stage}_gpu"] = round(torch.cuda.max_memory_allocated(device) / 2**30, 3)
    return found
