"""What is odd about a set: statistics far from the published, dull patches, doubles, neighbours.

Findings are words for the user, not damage: a cache with findings is sound.
"""

from __future__ import annotations

import numpy as np

from crbench.cards import ProtocolCard
from crbench.data.cache.reading import Cache
from crbench.data.cache.scan import Scan
from crbench.data.sources.raw import some

_SHOWN = 10  # samples named one by one, per finding
_MEAN_OFF = 0.5  # of the published standard deviation
_STD_OFF = 2.0  # factor


def oddities(cache: Cache, scans: dict[str, Scan]) -> list[str]:
    """Everything that is odd, in words, from a scan of the whole cache."""
    notes = [] if cache.card.synthetic else far_from_published(cache)
    for which in ("a", "b"):
        notes += _dull_patches(cache, which, scans[which])
    checks = {which: scans[which].checks for which in ("a", "b")}
    return notes + duplicates(cache, checks) + neighbours(cache)


def far_from_published(cache: Cache) -> list[str]:
    """Bands whose statistics of the train split differ much from the published ones.

    Much is: the mean by more than half the published standard deviation, or the standard deviation
    by more than a factor of two.
    """
    notes = []
    for which in ("a", "b"):
        group, modality = cache.attributes[which], cache.card.modality(which)
        if "published_mean" not in group:
            continue
        facts = (group[key] for key in ("mean", "std", "published_mean", "published_std"))
        bands = [
            f"{band} {mean:,.2f} ± {std:,.2f}, published {old_mean:,.2f} ± {old_std:,.2f}"
            for band, mean, std, old_mean, old_std in zip(modality.bands, *facts, strict=True)
            if abs(mean - old_mean) > _MEAN_OFF * old_std
            or not old_std / _STD_OFF <= std <= old_std * _STD_OFF
        ]
        if bands:
            notes.append(
                f"{which}: statistics of the train split are far from the published ones (mean by "
                f"more than {_MEAN_OFF:g} sd, or sd by more than a factor of {_STD_OFF:g}): "
                + "; ".join(bands)
            )
    return notes


def _dull_patches(cache: Cache, which: str, scan: Scan) -> list[str]:
    """Samples whose pixels are all zero, and those with a band that has one value only."""
    flat = scan.low == scan.high
    empty = (flat & (scan.low == 0)).all(1)
    bands = np.array(cache.card.modality(which).bands)
    notes = []
    if empty.any():
        notes.append(_samples(cache, which, np.flatnonzero(empty), "empty (all zero)"))
    if len(rows := np.flatnonzero(flat.any(1) & ~empty)):
        texts = [f"'{cache.ids[row]}' ({', '.join(bands[flat[row]])})" for row in rows]
        notes.append(f"{which}: {len(rows)} with a constant band: {some(texts, _SHOWN)}")
    return notes


def not_finite(cache: Cache, which: str, scan: Scan) -> list[str]:
    """Samples with a pixel that is NaN or infinite: nothing can be trained on them."""
    rows = np.flatnonzero(~(np.isfinite(scan.low) & np.isfinite(scan.high)).all(1))
    what = "with pixels that are NaN or infinite"
    return [_samples(cache, which, rows, what)] if len(rows) else []


def duplicates(cache: Cache, checks: dict[str, np.ndarray]) -> list[str]:
    """Samples of equal content in different splits, per modality, and how many there are in one.

    ``checks`` (N, 8) uint8: 64-bit BLAKE2b digests of the samples' pixels; two different samples
    among 80,000 share one with a probability of 2e-10.
    """
    notes = []
    for which, digests in checks.items():
        keys = np.ascontiguousarray(digests).view(np.uint64).reshape(-1)
        _, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
        rows_of = np.split(np.argsort(inverse, kind="stable"), np.cumsum(counts)[:-1])
        groups = sorted((rows for rows in rows_of if len(rows) > 1), key=lambda rows: int(rows[0]))
        across = [rows for rows in groups if len(set(cache.split[rows])) > 1]
        if across:
            texts = [
                " = ".join(f"'{cache.ids[r]}' ({cache.split[r]})" for r in rows) for rows in across
            ]
            listed = some(texts, _SHOWN)
            notes.append(f"{which}: {len(across)} images stand in more than one split: {listed}")
        if inside := len(groups) - len(across):
            notes.append(f"{which}: {inside} images stand more than once in their split")
    return notes


def neighbours(cache: Cache) -> list[str]:
    """Share of the default protocol's queries with a gallery item of their own place and date."""
    if cache.groups is None:
        return []
    share = neighbour_share(cache, cache.card.protocols[cache.card.protocol])
    return [
        f"{share:.1%} of the queries have a neighbour from the same place and date in the gallery "
        f"(protocol {cache.card.protocol})"
    ]


def neighbour_share(cache: Cache, protocol: ProtocolCard) -> float:
    """Share, 0 to 1, of the queries whose group holds a gallery item other than the query."""
    assert cache.groups is not None
    query, gallery = cache.rows(protocol.query), cache.rows(protocol.gallery)
    codes = np.unique(cache.groups, return_inverse=True)[1]
    others = np.bincount(codes[gallery], minlength=int(codes.max()) + 1)[codes[query]]
    return float((others - np.isin(query, gallery) > 0).mean())


def _samples(cache: Cache, which: str, rows: np.ndarray, what: str) -> str:
    listed = some([f"'{name}'" for name in cache.ids[rows]], _SHOWN)
    return f"{which}: {len(rows)} {what}: {listed}"
