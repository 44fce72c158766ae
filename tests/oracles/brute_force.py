"""Slow, literal versions of the metrics: every order that ties allow, Python sets and loops."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

import numpy as np

Order = Sequence[int]


def orders(scores: Sequence[float]) -> Iterator[list[int]]:
    """Every ranking of the items (best first) that the scores allow."""
    levels = sorted(set(scores), reverse=True)
    groups = [[i for i, s in enumerate(scores) if s == level] for level in levels]
    for choice in itertools.product(*(itertools.permutations(g) for g in groups)):
        yield [i for part in choice for i in part]


def expectation(scores: Sequence[float], value: Callable[[Order], float]) -> float:
    """Mean of ``value(order)`` over :func:`orders`."""
    found = [value(order) for order in orders(scores)]
    return math.fsum(found) / len(found)


def average_precision(order: Order, relevant: set[int]) -> float:
    hits, total = 0, 0.0
    for rank, item in enumerate(order, start=1):
        if item in relevant:
            hits += 1
            total += hits / rank
    return total / len(relevant)


def precision_at(order: Order, relevant: set[int], k: int) -> float:
    top = order[:k]
    return sum(item in relevant for item in top) / len(top)


def reciprocal_rank(order: Order, relevant: set[int]) -> float:
    return 1 / next(rank for rank, item in enumerate(order, start=1) if item in relevant)


def r_precision(order: Order, relevant: set[int]) -> float:
    return sum(item in relevant for item in order[: len(relevant)]) / len(relevant)


def map_at_r(order: Order, relevant: set[int]) -> float:
    first = order[: len(relevant)]
    return sum(
        sum(item in relevant for item in first[:rank]) / rank
        for rank in range(1, len(first) + 1)
        if first[rank - 1] in relevant
    ) / len(relevant)


def dcg(gains: Sequence[float], k: int) -> float:
    return sum(g / math.log2(1 + rank) for rank, g in enumerate(gains[:k], start=1))


def ndcg(order: Order, gains: Sequence[float], k: int) -> float:
    return dcg([gains[item] for item in order], k) / dcg(sorted(gains, reverse=True), k)


WHOLE = {
    "map": average_precision, "mrr": reciprocal_rank, "r_precision": r_precision,
    "map_r": map_at_r,
}  # fmt: skip


def label_p(query: set[int], item: set[int]) -> float:
    return len(query & item) / len(item) if item else 0.0


def label_r(query: set[int], item: set[int]) -> float:
    return len(query & item) / len(query) if query else 0.0


def harmonic(p: float, r: float) -> float:
    return 2 * p * r / (p + r) if p + r else 0.0


def f1(query: set[int], item: set[int]) -> float:
    return harmonic(label_p(query, item), label_r(query, item))


def mean_at(order: Order, values: Sequence[float], k: int) -> float:
    top = order[:k]
    return sum(values[item] for item in top) / len(top)


def grid_cosine(a: np.ndarray, b: np.ndarray) -> np.float32:
    """Cosine of two vectors in multiples of 2⁻²⁶, by whole-number arithmetic, rounded once."""
    total = sum(int(x) * int(y) for x, y in zip(a, b, strict=True))
    return np.float32(float(Fraction(total, 2**52)))


def label_sets(labels: np.ndarray, kind: str) -> list[set[int]]:
    if kind == "multi":
        return [set(np.flatnonzero(row).tolist()) for row in labels]
    return [{int(c)} for c in labels]


def reference(
    scores: np.ndarray,
    query_ids: Sequence[str],
    gallery_ids: Sequence[str],
    query_sets: list[set[int]],
    gallery_sets: list[set[int]],
    ks: Sequence[int],
    exclude_self: bool,
    groups: tuple[Sequence[str], Sequence[str]] | None = None,
) -> dict[str, float | None]:
    """All metrics of one direction from a score matrix, by enumeration."""
    columns: dict[str, list[float]] = {}

    def add(name: str, value: float) -> None:
        columns.setdefault(name, []).append(value)

    for q, row in enumerate(scores):
        kept = [g for g in range(len(row)) if not (exclude_self and gallery_ids[g] == query_ids[q])]
        if groups is not None:
            kept = [g for g in kept if groups[1][g] != groups[0][q]]
        s = [float(row[g]) for g in kept]
        wanted = query_sets[q]
        items = [gallery_sets[g] for g in kept]
        relevant = {i for i, item in enumerate(items) if item & wanted}
        gains = [2.0 ** len(item & wanted) - 1 for item in items]
        if relevant:
            for name, of in WHOLE.items():
                add(name, expectation(s, lambda o, r=relevant, of=of: of(o, r)))
        for k in ks:
            add(f"p@{k}", expectation(s, lambda o, r=relevant, k=k: precision_at(o, r, k)))
            if relevant:
                add(f"ndcg@{k}", expectation(s, lambda o, g=gains, k=k: ndcg(o, g, k)))
            for name, of in (("label_p", label_p), ("label_r", label_r), ("f1_item", f1)):
                v = [of(wanted, item) for item in items]
                add(f"{name}@{k}", expectation(s, lambda o, v=v, k=k: mean_at(o, v, k)))
            pair = harmonic(columns[f"label_p@{k}"][-1], columns[f"label_r@{k}"][-1])
            add(f"f1_query@{k}", pair)
        if not exclude_self:  # a pair of the query's own group is not among those kept
            own = [i for i, g in enumerate(kept) if gallery_ids[g] == query_ids[q]]
            for k in (1, 5, 10):
                if own:
                    add(f"pair_r@{k}", expectation(s, lambda o, i=own[0], k=k: i in o[:k]))
    result: dict[str, float | None] = {n: math.fsum(v) / len(v) for n, v in columns.items()}
    for name in (*WHOLE, *(f"ndcg@{k}" for k in ks)):
        result.setdefault(name, None)
    for k in ks:
        p, r = result[f"label_p@{k}"], result[f"label_r@{k}"]
        assert p is not None and r is not None
        result[f"f1_dataset@{k}"] = harmonic(p, r)
    return result
