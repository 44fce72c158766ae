"""Native pixels as a model takes them: z-scored per band, then resized. Written here, once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


def band_tensors(
    statistics: Mapping[str, Any], device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """``mean`` and ``std`` (C,) of ``statistics``, in stored units, as (C, 1, 1) float32."""
    mean, std = (
        torch.tensor(statistics[key], dtype=torch.float32, device=device)[:, None, None]
        for key in ("mean", "std")
    )
    return mean, std


def normalise(native: Tensor, mean: Tensor, std: Tensor, size: int) -> Tensor:
    """(B, C, H, W) of any real dtype, in stored units → (B, C, size, size) float32 z-scores.

    ``mean`` and ``std`` (C, 1, 1) float32 on the pixels' device, see :func:`band_tensors`.
    """
    return resize((native.to(torch.float32) - mean) / std, size)


def resize(images: Tensor, size: int) -> Tensor:
    """(B, C, H, W) → (B, C, size, size): area averages for a whole factor, else antialiased
    bilinear; enlarging is bilinear."""
    height, width = images.shape[-2:]
    if (height, width) == (size, size):
        return images
    if height % size == 0 and width % size == 0:
        return functional.avg_pool2d(images, (height // size, width // size))
    return functional.interpolate(
        images, (size, size), mode="bilinear", antialias=True, align_corners=False
    )
