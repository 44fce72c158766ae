"""The cache of a run, and how it normalises images."""

from __future__ import annotations

from pathlib import Path

from crbench.data.cache import Cache, open_cache
from crbench.errors import UserError
from crbench.runs.folder import RunInfo


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
