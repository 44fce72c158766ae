"""Where a run computes and how exactly: devices and precision."""

from __future__ import annotations

import torch

from crbench.cards import MethodCard
from crbench.errors import UserError
from crbench.run.ranks import Ranks


def pick_device(device: str, ranks: Ranks | None = None) -> torch.device:
    """``auto`` takes a GPU where there is one; a device that is not there is a UserError.

    Ranks of one machine take a GPU each: the n-th of them ``cuda:n``.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda" and ranks is not None and ranks.size > 1:
        device = f"cuda:{ranks.local}"
        torch.cuda.set_device(ranks.local)
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        first = str(error).splitlines()[0].partition(". ")[0].partition(" at start of")[0]
        raise UserError(
            f"device '{device}' cannot be used: {first}",
            where="--device",
            fix="use auto, cpu, cuda or cuda:N",
        ) from None
    return chosen


def precision_of(card: MethodCard, device: torch.device) -> str:
    """The precision that "auto" stands for: bf16 on a GPU, fp32 on a CPU."""
    if card.train.precision == "auto":
        return "bf16" if device.type == "cuda" else "fp32"
    return card.train.precision


def full_precision() -> None:
    """fp32 means fp32: convolutions would round to TF32 on recent GPUs."""
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


def device_name(device: torch.device) -> str:
    """``cpu``, or the GPU's product name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
