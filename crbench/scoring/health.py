"""Is there anything in the embeddings: spread, rank, ties, and the gap between the modalities."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from crbench.scoring.protocol import Arrays, check_directions
from crbench.scoring.tiles import GRID_BITS, fixed_point, one_blas_thread
from crbench.words import ROLES, SAME_MODAL

# Below or above these a set of embeddings is called collapsed; they stand in each record.
THRESHOLDS = {
    "min_spread": 0.01,  # feature_std × √D: 1 for directions all over the sphere, 0 for one point
    "min_effective_rank": 1.5,  # 1: all items on one line, as with two points
    "max_tied_share": 0.5,  # of the scores that equal another of the same query
}
# Past these embeddings still retrieve, but little of their space is used: a mark, and no verdict.
NARROW = {
    "max_mean_cosine": 0.9,  # of two different items: 0 all over the sphere, 1 for one point
    "max_first_component": 0.65,  # share of the variance along its first principal component
}
_ROWS = 8192


def health(
    embeddings: Mapping[str, Arrays], tied_share: Mapping[str, float] | None = None
) -> dict[str, Any]:
    """Health of the embeddings that serve each direction, given as in ``score_directions``.

    Of each array (N, D), after normalisation: ``feature_std`` (mean over features of the sd over
    items), ``spread`` (feature_std × √D, in [0, 1]), ``effective_rank`` (exponential of the entropy
    of the normalised singular values of the centred embeddings; Roy & Vetterli 2007; 0 of a single
    point), ``mean_cosine`` (over all pairs of different items), ``first_component`` (share of the
    variance along the first principal component; null of a single point). ``directions`` holds
    these for query and gallery, the ``gap`` between their means in a cross-modal direction (the
    modality gap, Liang et al. 2022), and the ``tied_share`` given.
    ``modalities`` repeats those of the galleries of aa and bb (else of the cross-modal ones),
    ``gap`` that of ab (else of ba; null without one). ``collapsed`` is true where a named
    threshold is crossed, with ``collapsed_reason``. ``narrow_reason`` names the first limit of
    ``NARROW`` that is crossed short of that, or is null. Values carry 6 significant digits, beyond
    which they depend on the machine.
    """
    seen: dict[int, tuple[dict[str, float | None], np.ndarray]] = {}
    directions: dict[str, dict[str, Any]] = {}
    modalities: dict[str, dict[str, float | None]] = {}
    for direction in check_directions(embeddings):
        entry: dict[str, Any] = {}
        means = []
        for role, array in zip(ROLES, embeddings[direction], strict=True):
            if id(array) not in seen:
                with one_blas_thread():
                    seen[id(array)] = _one(array, f"{direction} {role} embeddings")
            entry[role], mean = seen[id(array)]
            means.append(mean)
        if direction not in SAME_MODAL and len(means[0]) == len(means[1]):
            entry["gap"] = _round(float(np.linalg.norm(means[0] - means[1])))
        if tied_share is not None and direction in tied_share:
            entry["tied_share"] = _round(tied_share[direction])
        directions[direction] = entry
        modalities.setdefault(direction[1], entry["gallery"])
    gaps = [directions[d].get("gap") for d in ("ab", "ba") if d in directions]
    reason = _reason(directions)
    return {
        "modalities": dict(sorted(modalities.items())),
        "gap": gaps[0] if gaps else None,
        "directions": directions,
        "collapsed": reason is not None,
        "collapsed_reason": reason,
        "narrow_reason": None if reason else _narrow(directions),
        "thresholds": {**THRESHOLDS, **NARROW},
    }


def _one(array: np.ndarray, name: str) -> tuple[dict[str, float | None], np.ndarray]:
    codes = fixed_point(array, name)
    n, width = codes.shape
    mean = codes.sum(axis=0, dtype=np.int64) / (n * 2.0**GRID_BITS)
    scatter = np.zeros((width, width))
    for start in range(0, n, _ROWS):
        part = codes[start : start + _ROWS] / 2.0**GRID_BITS - mean
        scatter += part.T @ part
    covariance = scatter / n
    std = float(np.sqrt(np.maximum(np.diagonal(covariance), 0.0)).mean())
    # the grid alone leaves a variance of 2⁻⁵⁴ a feature: less than 1e-12 is no variance
    power = np.linalg.eigvalsh(covariance)
    power = power[power > 1e-12]
    numbers = {
        "feature_std": std,
        "spread": std * width**0.5,
        "effective_rank": _effective_rank(np.sqrt(power)),
        # Σ_{i≠j} cos_ij = N²‖mean‖² − N for unit vectors
        "mean_cosine": float((n * (mean @ mean) - 1) / (n - 1)) if n > 1 else 1.0,
    }
    first = _round(float(power[-1] / power.sum())) if len(power) else None
    return {name: _round(value) for name, value in numbers.items()} | {
        "first_component": first
    }, mean


def _effective_rank(singular: np.ndarray) -> float:
    """exp of the entropy of normalised singular values; 0 of none."""
    if not len(singular):
        return 0.0
    p = singular / singular.sum()
    return float(np.exp(-(p * np.log(p)).sum()))


def _narrow(directions: Mapping[str, Mapping[str, Any]]) -> str | None:
    for direction, entry in directions.items():
        for role in ROLES:
            for key in ("first_component", "mean_cosine"):
                value, limit = entry[role][key], NARROW[f"max_{key}"]
                if value is not None and value > limit:
                    what = f"{direction} {role} embeddings use little of their space"
                    return f"{what}: {key} {value:g} is above {limit:g}"
    return None


def _reason(directions: Mapping[str, Mapping[str, Any]]) -> str | None:
    for direction, entry in directions.items():
        for role in ROLES:
            for key, shape in (("spread", "one point"), ("effective_rank", "one line")):
                value, limit = entry[role][key], THRESHOLDS[f"min_{key}"]
                if value < limit:
                    return (
                        f"{direction} {role} embeddings lie on {shape}: {key} {value:g} is below "
                        f"min_{key} {limit:g}"
                    )
        share, limit = entry.get("tied_share", 0.0), THRESHOLDS["max_tied_share"]
        if share > limit:
            return f"{direction}: tied_share {share:g} is above max_tied_share {limit:g}"
    return None


def _round(value: float) -> float:
    return float(f"{value:.6g}")
