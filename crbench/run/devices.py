"""Where a run computes: device, precision, memory, and the ranks that share the work.

``torchrun --nproc-per-node 2 -m crbench evaluate RUN``: rank 0 embeds and writes, every rank ranks
its share of the queries. Only values per query travel (gloo, on the processor), so that the
network hardly matters. ``… -m crbench train``: every rank takes a fixed share of each batch; see
training/step.py. A rank that dies or hangs ends the others with an error that says so, after at
most ``CRBENCH_RANK_TIMEOUT_S`` seconds (default 1,800).
"""

from __future__ import annotations

import contextlib
import datetime
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from crbench import machine
from crbench.cards import MethodCard
from crbench.errors import UserError

_TIMEOUT = "CRBENCH_RANK_TIMEOUT_S"
_NOTHING = "nothing was written"
_GLOO = ("gloo", "monitoredBarrier")  # its errors have no class of their own
_NEEDED = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


class Ranks:
    """This process among ``size``; alone, every method does nothing."""

    def __init__(self, rank: int = 0, size: int = 1) -> None:
        self.rank, self.size = rank, size
        self.local = int(os.environ.get("LOCAL_RANK", "0"))  # among those on this machine
        # torchrun passes signals on, which the terminal or the cluster has sent to all already
        self.signalled_twice = size > 1 or "TORCHELASTIC_RUN_ID" in os.environ

    @property
    def first(self) -> bool:
        """Whether this is the process that embeds, writes and speaks."""
        return self.rank == 0

    def total(self, values: np.ndarray) -> np.ndarray:
        """Sum of float64 ``values`` over the ranks, element by element, on every rank."""
        summed = torch.from_numpy(np.ascontiguousarray(values))
        with self.named("adding up the values"):
            dist.all_reduce(summed)
        return summed.numpy()

    def wait(self, what: str) -> None:
        """Go on when every rank has come here; ``what`` names the step in errors."""
        if self.size > 1:
            with self.named(what):
                dist.monitored_barrier(timeout=_timeout(), wait_all_ranks=True)

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` is set on any rank: what all have to do at the same step."""
        if self.size == 1:
            return flag
        most = torch.tensor(int(flag))
        dist.all_reduce(most, op=dist.ReduceOp.MAX)
        return bool(most)

    def from_first(self, make: Callable[[], Any]) -> Any:
        """What ``make`` returns on rank 0, on every rank; its UserError is raised on every rank."""
        if self.size == 1:
            return make()
        message: list[Any] = [None, None]  # the result, or the error
        if self.first:
            try:
                message[0] = make()
            except UserError as error:
                message[1] = (error.what, error.where, error.fix)
        with self.named("asking rank 0"):
            dist.broadcast_object_list(message)
        if message[1]:
            what, where, fix = message[1]
            raise UserError(what, where=where, fix=fix)
        return message[0]

    @contextlib.contextmanager
    def named(self, what: str, left: str = _NOTHING) -> Iterator[None]:
        """Name the loss of another rank; ``left`` says what stands on the disk then."""
        try:
            yield
        except RuntimeError as error:  # gloo's for a closed connection and for its timeout
            if not isinstance(error, dist.DistError) and not any(w in str(error) for w in _GLOO):
                raise
            first = str(error).strip().splitlines()[0]
            raise UserError(
                f"rank {self.rank} of {self.size} lost another rank while {what}: {first}",
                where="torchrun",
                fix=f"read the other ranks' messages and start again; {left} "
                f"(a rank that is merely slow: raise {_TIMEOUT})",
            ) from error


def _timeout() -> datetime.timedelta:
    text = os.environ.get(_TIMEOUT, "1800")
    if not text.isdigit() or int(text) < 1:
        raise UserError(f"'{text}' is not a number of seconds", where=_TIMEOUT)
    return datetime.timedelta(seconds=int(text))


@contextlib.contextmanager
def joined() -> Iterator[Ranks]:
    """The ranks that ``torchrun`` started, joined for as long as the context lasts."""
    size = os.environ.get("WORLD_SIZE", "1")
    if size == "1":
        yield Ranks()
        return
    missing = [name for name in _NEEDED if name not in os.environ]
    if missing or not size.isdigit():
        raise UserError(
            f"WORLD_SIZE is {size} but this is no torchrun: {', '.join(missing)} not set",
            where="environment",
            fix="start by torchrun, or unset WORLD_SIZE",
        )
    ranks = Ranks(int(os.environ["RANK"]), int(size))
    with ranks.named("joining"):
        dist.init_process_group("gloo", timeout=_timeout())
    try:
        yield ranks
    finally:
        dist.destroy_process_group()


def threads_here() -> int | None:
    """Threads for this process where ranks share a machine; None: as many as there are cores."""
    neighbours = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return None if neighbours == 1 else max(1, machine.cores() // neighbours)


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


def peak_memory(stage: str, device: torch.device) -> dict[str, float]:
    """GiB: ``<stage>_rss``, resident in this process so far, and ``<stage>_gpu``, allocated there.

    Both count everything that the process has done up to now.
    """
    peaks = {f"{stage}_rss": round(machine.peak_rss_gib(), 3)}
    if device.type == "cuda":
        peaks[f"{stage}_gpu"] = round(torch.cuda.max_memory_allocated(device) / 2**30, 3)
    return peaks
