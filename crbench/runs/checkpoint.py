"""Saving and loading: the full training state, and the weights that embed.

Both are written atomically. Neither executes anything when read: the state is loaded by
``torch.load(weights_only=True)``, the weights are safetensors.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_model, save_model
from torch import nn

from crbench.errors import UserError
from crbench.files import atomic_path

FORMAT = 1


def save_state(path: Path, model: nn.Module, optimizer: Any, position: dict[str, Any]) -> None:
    """Write model, optimiser, RNG and ``position`` (plain numbers and lists) atomically."""
    state = {
        "format": FORMAT,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "rng": torch.get_rng_state(),  # for methods of others; ours draw from named seeds alone
        "position": position,
    }
    # through Python's own file, so that a full disk is an OSError and becomes one message
    with atomic_path(path) as temporary, temporary.open("wb") as handle:
        torch.save(state, handle)


def load_state(path: Path, model: nn.Module, optimizer: Any) -> dict[str, Any]:
    """Restore what ``save_state`` wrote and return its position; damage is a UserError."""
    fix = "remove the run folder and train anew, or restore the file"
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UserError("there is no checkpoint to go on from", where=path, fix=fix) from None
    except (RuntimeError, EOFError, pickle.UnpicklingError, ValueError) as error:
        raise UserError("the checkpoint is damaged", where=path, fix=fix) from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise UserError("not a crbench checkpoint of this version", where=path, fix=fix)
    try:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["rng"])
        return dict(state["position"])
    except (RuntimeError, KeyError, ValueError) as error:
        first = str(error).splitlines()[0]
        raise UserError(f"the checkpoint does not fit: {first}", where=path, fix=fix) from error


def save_weights(path: Path, model: nn.Module, about: dict[str, Any]) -> None:
    """Write the weights as safetensors, with ``about`` (cards, bands) inside as JSON."""
    try:
        with atomic_path(path) as temporary:
            text = json.dumps(about, sort_keys=True)
            save_model(model, str(temporary), metadata={"crbench": text})
    except SafetensorError as error:  # its own kind of error for a full disk
        raise UserError(
            f"cannot write the weights: {error}", where=path, fix="free some space, then --resume"
        ) from error


def load_weights(path: Path, model: nn.Module, expected: Mapping[str, Any]) -> None:
    """Load weights into a model of the same card; anything that does not fit is a UserError.

    ``expected``: what ``save_weights`` must have been told about them (weights of another seed or
    dataset may have the same shapes). Keys that older runs or weights lack are not compared.
    """
    about = read_about(path)
    stated = {key: value for key, value in expected.items() if value != {}}
    differing = [key for key in stated if key in about and about[key] != stated[key]]
    if differing:
        raise UserError(
            f"these weights are of another run: their {' and '.join(differing)} "
            "differ from run.json",
            where=path,
            fix="put this run's own weights back, or train it again",
        )
    try:
        load_model(model, str(path), strict=True)
    except (SafetensorError, OSError, RuntimeError) as error:
        first = str(error).splitlines()[0]
        raise UserError(
            f"the weights cannot be loaded: {first}", where=path, fix="train the run again"
        ) from error


def read_about(path: Path) -> dict[str, Any]:
    """What ``save_weights`` was told about the weights at ``path``."""
    try:
        with safe_open(str(path), framework="pt") as handle:
            text = (handle.metadata() or {}).get("crbench")
        about = None if text is None else json.loads(text)
    except (SafetensorError, OSError, RuntimeError, json.JSONDecodeError) as error:
        first = str(error).splitlines()[0]
        raise UserError(
            f"the weights cannot be loaded: {first}", where=path, fix="train the run again"
        ) from error
    if not isinstance(about, dict):
        raise UserError("these weights were not written by crbench", where=path)
    return about
