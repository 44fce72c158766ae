"""A dataset and a run, opened: cache, bands, statistics."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from crbench.cards import load_dataset
from crbench.data.cache.reading import Cache, check_bands, default_path, open_cache
from crbench.errors import UserError
from crbench.run.folder import RunInfo


def statistics(data: Cache) -> dict[str, dict[str, list[float]]]:
    """Mean and std per band, as they normalise the images of each modality."""
    return {m: {name: found.tolist() for name, found in data.stats(m).items()} for m in "ab"}


def open_run_cache(info: RunInfo, cache: str | Path | None) -> Cache:
    """The cache that a run was trained on; another one is a UserError."""
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
    return data


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


def about_weights(info: RunInfo) -> dict[str, Any]:
    """What travels inside the weights: enough to use them without the run's folder, and to tell
    them from those of another run."""
    return {
        "method": info.method,
        "bands": {m: info.dataset_card.modality(m).used for m in ("a", "b")},
        "statistics": info.statistics,
        "seed": info.seed,
        "cache_digest": info.cache_digest,
    }


def band_counts(data: Cache) -> dict[str, int]:
    """Number of bands per modality, as methods are built with."""
    return {m: len(data.card.modality(m).used) for m in ("a", "b")}
