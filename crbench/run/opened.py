"""Datasets and runs, opened: the cache, how it normalises images, and the weights.

A run is opened once on a command's way: its statement is read, its cards are parsed and its cache
is opened and compared in :func:`open_run`, and nowhere else. torch is loaded with the weights.
Weights are safetensors with a statement inside: nothing in them is executed.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from crbench.cards import DatasetCard, load_dataset
from crbench.data.cache.reading import Cache, check_bands, default_path, open_cache
from crbench.errors import UserError
from crbench.files import atomic_path, sha256_file
from crbench.run.folder import RunFolder, RunInfo
from crbench.words import MODALITIES

if TYPE_CHECKING:  # torch takes seconds to load, and a pair that is embedded needs none of it
    import torch
    from torch import nn

    from crbench.models.base import Method

Statistics = dict[str, dict[str, list[float]]]


@dataclass(frozen=True)
class OpenedRun:
    """A finished run: its folder (with the weights that are meant), its statement, its cache."""

    folder: RunFolder
    info: RunInfo
    cache: Cache

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.folder.path


def open_run(
    path: str | os.PathLike[str],
    *,
    cache: str | os.PathLike[str] | None = None,
    weights: str = "last",
) -> OpenedRun:
    """Open a finished run, with its last or best ``weights``, and the cache it was trained on.

    A run that has not finished, weights that it has not kept, and a cache of other pixels or other
    statistics are a UserError.
    """
    folder = RunFolder(Path(path), weights)
    info = folder.finished()
    data = open_cache(Path(cache or info.cache), info.dataset_card)
    if data.digest != info.cache_digest:
        raise UserError(
            "this cache is not the one that the run was trained on",
            where=data.path,
            fix=f"give the cache with digest {info.cache_digest[:12]}… by --cache",
        )
    if info.statistics and info.statistics != statistics(data):
        raise UserError(
            "this cache normalises its images otherwise than when the run was trained",
            where=data.path,
            fix="build the cache with the card that the run was trained on",
        )
    return OpenedRun(folder, info, data)


def open_run_on(
    path: str | os.PathLike[str],
    dataset: str,
    *,
    cache: str | Path | None = None,
    weights: str = "last",
) -> OpenedRun:
    """Open a finished run to be scored on another ``dataset``: the same bands, found by name, in
    the same units, normalised by the statistics of the training.

    UserError where a band is missing, units differ, or the run tells no statistics.
    """
    folder = RunFolder(Path(path), weights)
    info = folder.finished()
    if not info.statistics:
        raise UserError(
            "this run does not say how its images were normalised",
            where=folder.info_path,
            fix="train it again with this version",
        )
    data = open_dataset(dataset, cache)
    for which in MODALITIES:
        mine, theirs = info.dataset_card.modality(which), data.card.modality(which)
        if missing := [band for band in mine.used if band not in theirs.bands]:
            raise UserError(
                f"the run sees {mine.name} {', '.join(mine.used)}; {data.card.name} has no "
                f"{', '.join(missing)} in {which} ({theirs.name}: {', '.join(theirs.bands)})",
                where="--on",
                fix="choose a dataset with these bands",
            )
        if mine.units != theirs.units:
            raise UserError(
                f"the run was trained on {which} in '{mine.units}', {data.card.name} holds "
                f"'{theirs.units}'",
                where="--on",
                fix="choose a dataset in the same units",
            )
    data.card = data.card.with_bands(f"{m}={','.join(bands)}" for m, bands in info.bands.items())
    data.normalised_by = info.statistics
    return OpenedRun(RunFolder(Path(path), weights, data.card.name), info, data)


def open_dataset(dataset: str, cache: str | Path | None, bands: Iterable[str] = ()) -> Cache:
    """The cache of a dataset card, at ``cache`` or at its usual place, with the card in use.

    How the pixels came about (scale, source, the note on it) is the cache's; how they are
    normalised, split and judged is the card's, which may have changed since.
    """
    card = load_dataset(dataset)
    data = open_cache(Path(cache) if cache else default_path(card))
    if data.card.name != card.name:
        raise UserError(
            f"this cache holds '{data.card.name}', not '{card.name}'",
            where=data.path,
            fix=f"name the dataset '{data.card.name}' or give another --cache",
        )
    in_use = load_dataset(dataset, scale=data.card.scale)
    in_use = in_use.model_copy(update={"source": data.card.source, "note": data.card.note})
    check_bands(data, in_use)
    data.card = in_use.with_bands(bands)
    return data


def statistics(data: Cache) -> Statistics:
    """Mean and std per band, as they normalise the images of each modality."""
    return {m: {key: values.tolist() for key, values in data.stats(m).items()} for m in MODALITIES}


def band_counts(card: DatasetCard) -> dict[str, int]:
    """Number of bands in use per modality, as methods are built with."""
    return {m: len(card.modality(m).used) for m in MODALITIES}


def trained_model(folder: RunFolder, info: RunInfo, device: torch.device) -> Method:
    """The model of a finished run, ready to embed; weights of another run or damaged ones are a
    UserError."""
    from crbench.models.registry import build_method

    model = build_method(info.method_card, band_counts(info.dataset_card))
    load_weights(folder.weights, model, weights_statement(info))
    written = info.digests.get(folder.which)
    if written and sha256_file(folder.weights) != written:
        raise UserError(
            "the weights are damaged: they are not those that training wrote",
            where=folder.weights,
            fix="restore the file, or train the run again",
        )
    return model.to(device).eval()


def weights_statement(info: RunInfo) -> dict[str, Any]:
    """What travels inside the weights: enough to use them without the run's folder, and to tell
    them from those of another run."""
    return {
        "method": info.method,
        "bands": info.bands,
        "statistics": info.statistics,
        "seed": info.seed,
        "cache_digest": info.cache_digest,
    }


def save_weights(path: Path, model: nn.Module, about: dict[str, Any]) -> None:
    """Write the weights as safetensors, with ``about`` (cards, bands) inside as JSON."""
    from safetensors import SafetensorError
    from safetensors.torch import save_model

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

    ``expected``: what ``save_weights`` must have written about them (weights of another seed or
    dataset may have the same shapes). Keys that older runs or weights lack are not compared.
    """
    about = read_statement(path)
    stated = {key: value for key, value in expected.items() if value != {}}
    differing = [key for key in stated if key in about and about[key] != stated[key]]
    if differing:
        raise UserError(
            f"these weights are of another run: their {' and '.join(differing)} "
            "differ from run.json",
            where=path,
            fix="put this run's own weights back, or train it again",
        )
    from safetensors.torch import load_model

    with _loading(path):
        load_model(model, str(path), strict=True)


def read_statement(path: Path) -> dict[str, Any]:
    """What ``save_weights`` was told about the weights at ``path``."""
    from safetensors import safe_open

    with _loading(path), safe_open(str(path), framework="pt") as handle:
        about = json.loads((handle.metadata() or {}).get("crbench", "null"))
    if not isinstance(about, dict):
        raise UserError("these weights were not written by crbench", where=path)
    return about


@contextlib.contextmanager
def _loading(path: Path) -> Iterator[None]:
    """What safetensors raises of a file that is damaged, or of another model, as a UserError."""
    from safetensors import SafetensorError

    try:
        yield
    except (SafetensorError, OSError, RuntimeError, json.JSONDecodeError) as error:
        first = str(error).splitlines()[0]
        raise UserError(
            f"the weights cannot be loaded: {first}", where=path, fix="train the run again"
        ) from error
