"""The full training state: written atomically, sealed, and restored after an interruption.

Nothing in it is executed when it is read (``torch.load(weights_only=True)``). It ends with a
SHA-256 of itself, so that a disk's damage is found before anything is restored from it.
"""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

import torch
from torch import nn

from crbench.errors import UserError
from crbench.files import atomic_path

_FORMAT = 2  # 1 had no seal
_SEAL = b"\nsha256:"  # then 64 hexadecimal digits: the end of the file, of all that stands before
_SEAL_BYTES = len(_SEAL) + 64
# What torch.load and load_state_dict raise on bytes that are not what they were.
_DAMAGE = (OSError, RuntimeError, EOFError, pickle.UnpicklingError, ValueError, KeyError, TypeError)


class _Sealing:
    """A file that is written through to ``handle`` and hashed on its way: read back for its digest,
    a checkpoint of gigabytes would stop training twice as long."""

    def __init__(self, handle: IO[bytes]) -> None:
        self.handle, self.sha = handle, hashlib.sha256()

    def write(self, data: Any) -> int:
        self.sha.update(data)
        return self.handle.write(data)

    def flush(self) -> None:
        self.handle.flush()


def save_state(
    path: Path, model: nn.Module, optimizer: Any, position: dict[str, Any], keep: int = 1
) -> None:
    """Write model, optimiser, RNG and ``position`` (plain numbers and lists) atomically.

    Schedules, orders, masks and random directions follow from the position's ``step`` and the
    run's seed, and bf16 needs no loss scaler, so that this is all of the state. ``keep`` > 1 also
    keeps the newest states under numbered names beside it, which share the file's place on disk.
    """
    state = {
        "format": _FORMAT,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "rng": torch.get_rng_state(),  # for methods of others; ours draw from named seeds alone
        "position": position,
    }
    # through Python's own file, so that a full disk is an OSError and becomes one message
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        sealing = _Sealing(handle)
        torch.save(state, cast(IO[bytes], sealing))
        handle.write(_SEAL + sealing.sha.hexdigest().encode())
    if keep > 1:
        _number(path, int(position["step"]), keep)


def _number(path: Path, step: int, keep: int) -> None:
    """Give the state at ``path`` its number too and drop the oldest beyond ``keep``."""
    numbered = path.with_name(f"{path.stem}-{step:09d}{path.suffix}")
    numbered.unlink(missing_ok=True)
    try:
        os.link(path, numbered)
    except OSError:  # a file system without links
        with atomic_path(numbered) as temporary:
            shutil.copyfile(path, temporary)
    for old in older(path)[keep:]:
        old.unlink(missing_ok=True)


def older(path: Path) -> list[Path]:
    """The numbered states beside ``path``, newest first."""
    return sorted(path.parent.glob(f"{path.stem}-*{path.suffix}"), reverse=True)


def load_latest(
    path: Path, model: nn.Module, optimizer: Any, say: Callable[[str], None]
) -> dict[str, Any] | None:
    """Restore the newest sound state and return its position; None where there is none at all.

    A state that is damaged is named by ``say`` and the next older one is taken. Where all are
    damaged the error of the newest is raised.
    """
    first: UserError | None = None
    for candidate in filter(Path.is_file, [path, *older(path)]):
        try:
            position = load_state(candidate, model, optimizer)
        except UserError as error:
            first = first or error
            continue
        if first:
            say(f"{first.what}: {first.where}; going on from {candidate.name} before it")
        return position
    if first:
        raise first
    return None


def load_state(path: Path, model: nn.Module, optimizer: Any) -> dict[str, Any]:
    """Restore what ``save_state`` wrote and return its position; damage is a UserError.

    The seal is checked before anything is read from the file: a file that is cut, or of which one
    byte is another, is refused.
    """

    def refused(what: str) -> UserError:
        fix = "restore the file; or remove it, and --resume starts the run anew"
        return UserError(what, where=path, fix=fix)

    try:
        data = path.read_bytes()
        body, seal = memoryview(data)[:-_SEAL_BYTES], data[-_SEAL_BYTES:]
        sealed = seal.startswith(_SEAL)
        if sealed and seal != _SEAL + hashlib.sha256(body).hexdigest().encode():
            raise refused("the checkpoint is damaged: its digest differs")
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except _DAMAGE as error:
        raise refused("the checkpoint is damaged") from error
    number = state.get("format") if isinstance(state, dict) else None
    if number == _FORMAT and not sealed:
        raise refused("the checkpoint is damaged: its seal is missing")
    if number not in (1, _FORMAT):
        raise refused("not a crbench checkpoint of this version")
    try:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"])
        return dict(state["position"])
    except _DAMAGE as error:
        raise refused(f"the checkpoint does not fit: {str(error).splitlines()[0]}") from error


def tidy(folder: Path, *, finished: bool) -> None:
    """Remove what a killed process left half written; of a finished run also its states."""
    names = ("checkpoint*.pt", "weights*.safetensors", "run.json", "metrics.jsonl")
    for name in names:
        for path in folder.glob(f".{name}.*.tmp"):  # as atomic_path calls them
            path.unlink(missing_ok=True)
    if finished:  # nothing is left to go on with
        for path in folder.glob(names[0]):
            path.unlink(missing_ok=True)
