"""Who is ranked against whom: the four directions, the items, self-matches and pairs by id."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crbench.errors import UserError, unknown
from crbench.words import DIRECTIONS, LABEL_KINDS

Arrays = tuple[np.ndarray, np.ndarray]  # what serves a direction: query (Nq, D), gallery (Ng, D)


@dataclass(frozen=True)
class Items:
    """Ids ``(N,)`` of str and labels of a query set or a gallery.

    Labels are multi-hot ``(N, C)`` of 0 and 1, one class index per item ``(N,)``, or None. Where
    query and gallery both have ``groups`` ``(N,)`` of str, a query is ranked, in every direction,
    against the items of other groups only, so that its own pair is left out too. A query set with
    ``leave_pair`` is ranked without its own pair across sensors, as it is without itself within.

    Relevance by place: ``positions`` ``(N, 3)`` in metres, and the ``radius_m`` within which an
    item is relevant, the same in both sets. ``blocks`` ``(N,)`` of str, of queries: those of one
    block (a scene) are not independent, so that intervals draw blocks.
    """

    ids: np.ndarray
    labels: np.ndarray | None = None
    groups: np.ndarray | None = None
    positions: np.ndarray | None = None
    radius_m: float | None = None
    blocks: np.ndarray | None = None
    leave_pair: bool = False

    def __len__(self) -> int:
        return len(self.ids)


def check_directions(directions: Iterable[str]) -> tuple[str, ...]:
    """The given directions in canonical order; an unknown one is a UserError."""
    names = list(directions)
    for direction in names:
        if direction not in DIRECTIONS:
            raise unknown("direction", str(direction), DIRECTIONS)
    if not names:
        raise UserError("no direction to score", fix=f"give some of {', '.join(DIRECTIONS)}")
    return tuple(d for d in DIRECTIONS if d in names)


def check_ks(ks: Sequence[int]) -> tuple[int, ...]:
    """Ascending distinct cut-offs; a k below 1 is a UserError."""
    for k in ks:
        if int(k) != k or k < 1:
            raise UserError(f"k is {k}", where="ks", fix="give whole numbers of 1 or more")
    return tuple(sorted({int(k) for k in ks}))


def check_distinct(ids: np.ndarray, *, where: object, fix: str) -> None:
    """UserError with the first two rows that share an id, unless all ``ids`` (N,) differ."""
    order = np.argsort(ids, kind="stable")
    repeats = np.flatnonzero(ids[order][1:] == ids[order][:-1])
    if len(repeats):
        first, second = sorted((int(order[repeats[0]]), int(order[repeats[0] + 1])))
        what = f"id '{ids[first]}' repeats ({len(repeats)} repeated in all)"
        raise UserError(what, where=f"{where}, rows {first} and {second}", fix=fix)


def check_sets(
    query: Items, gallery: Items, label_kind: str, n_classes: int
) -> tuple[Items, Items]:
    """Both item sets, checked, with labels of the same width."""
    query = _check_items(query, "query", label_kind, n_classes)
    gallery = _check_items(gallery, "gallery", label_kind, n_classes)
    widths = [i.labels.shape[1:] for i in (query, gallery) if i.labels is not None]
    if len(set(widths)) > 1:
        raise UserError(
            f"query labels have {widths[0][0]} columns, gallery labels {widths[1][0]}",
            where="query labels, gallery labels",
        )
    if query.radius_m != gallery.radius_m:
        raise UserError(f"two radii: {query.radius_m} m and {gallery.radius_m} m", where="radius_m")
    return query, gallery


def _check_items(items: Items, role: str, label_kind: str, n_classes: int) -> Items:
    """Validated copy of ``items`` with str ids and integer labels; ``role`` names it in errors."""
    if label_kind not in LABEL_KINDS:
        raise unknown("label kind", label_kind, LABEL_KINDS)
    ids = np.asarray(items.ids)
    if ids.ndim != 1:
        raise UserError(f"ids have shape {ids.shape}, not (N,)", where=f"{role} ids")
    if len(ids) == 0:
        raise UserError(f"the {role} is empty", where=f"{role} ids", fix="give at least one item")
    ids = ids.astype(str)
    check_distinct(ids, where=f"{role} ids", fix="give each item an id of its own")
    named: dict[str, Any] = {"leave_pair": bool(items.leave_pair)}
    for name in ("groups", "blocks"):
        texts = getattr(items, name)
        if texts is not None:
            texts = np.asarray(texts).astype(str)
            if texts.shape != ids.shape:
                raise UserError(f"{name} have shape {texts.shape}", where=f"{role} {name}")
        named[name] = texts
    if label_kind == "place":
        return Items(ids, None, **named, **_check_positions(items, ids, role))
    if label_kind == "none":
        return Items(ids, None, **named)
    return Items(ids, _check_labels(items.labels, ids, role, label_kind, n_classes), **named)


def _check_positions(items: Items, ids: np.ndarray, role: str) -> dict[str, Any]:
    where = f"{role} positions"
    if items.positions is None or items.radius_m is None or items.radius_m <= 0:
        raise UserError("relevance by place needs positions and a radius above 0 m", where=where)
    positions = np.asarray(items.positions, dtype=np.float64)
    if positions.shape != (len(ids), 3):
        raise UserError(f"positions have shape {positions.shape}, not ({len(ids)}, 3)", where=where)
    if len(bad := np.flatnonzero(~np.isfinite(positions).all(axis=1))):
        raise UserError("a position is no number", where=f"{where}, row {bad[0]} ('{ids[bad[0]]}')")
    return {"positions": positions, "radius_m": float(items.radius_m)}


def _check_labels(
    values: np.ndarray | None, ids: np.ndarray, role: str, kind: str, n_classes: int
) -> np.ndarray:
    where = f"{role} labels"
    if values is None:
        raise UserError(f"a {kind}-label set needs labels, got none", where=where)
    labels = np.asarray(values)
    ndim = 2 if kind == "multi" else 1
    if labels.ndim != ndim or len(labels) != len(ids):
        shape = f"({len(ids)}, C)" if kind == "multi" else f"({len(ids)},)"
        raise UserError(f"labels have shape {labels.shape}, not {shape}", where=where)
    if labels.dtype.kind not in "biu":
        raise UserError(f"labels have dtype {labels.dtype}", where=where, fix="give integers")
    if kind == "multi" and n_classes and labels.shape[1] != n_classes:
        raise UserError(f"{labels.shape[1]} label columns for {n_classes} classes", where=where)
    wide = labels.astype(np.int64)
    top = 1 if kind == "multi" else (n_classes - 1 if n_classes else np.iinfo(np.int64).max)
    bad = (wide < 0) | (wide > top)
    if bad.any():
        row = int(np.argwhere(bad)[0, 0])
        where = f"{where}, row {row} (id '{ids[row]}')"
        raise UserError(f"label {wide[bad][0]} is not in 0…{top}", where=where)
    return labels.astype(np.uint8) if kind == "multi" else wide


def positions_of(ids: np.ndarray, within: np.ndarray) -> np.ndarray:
    """Position of each id ``(N,)`` in ``within`` ``(M,)``, −1 where absent; int64 ``(N,)``."""
    order = np.argsort(within, kind="stable")
    slot = np.minimum(np.searchsorted(within[order], ids), len(within) - 1)
    rows = order[slot]
    return np.where(within[rows] == ids, rows, -1).astype(np.int64)
