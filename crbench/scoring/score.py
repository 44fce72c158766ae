"""Arrays in, numbers out: the scores of all directions, and the top k for pictures."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from crbench.scoring import chance as analytic
from crbench.scoring.engine import Engine
from crbench.scoring.index import (
    Index,
    exact_rows,
    measure_candidates,
    nearest_candidates,
    recall,
)
from crbench.scoring.intervals import check_resamples, interval, resampled_metrics
from crbench.scoring.metrics import (
    HERE,
    PerQuery,
    Progress,
    RankingTask,
    make_task,
    means,
    measure,
    metric_names,
)
from crbench.scoring.protocol import (
    Arrays,
    Items,
    check_directions,
    check_ks,
    check_sets,
    positions_of,
)
from crbench.scoring.tiles import check_widths, fixed_point, workers
from crbench.words import KS

_SAMPLE = 256  # queries on which the recall of candidates is measured


def per_query(
    embeddings: Mapping[str, Arrays],
    query: Items,
    gallery: Items,
    *,
    label_kind: str,
    n_classes: int = 0,
    ks: Sequence[int] = KS,
    threads: int | None = None,
    progress: Progress | None = None,
    engine: Engine = HERE,
) -> dict[str, PerQuery]:
    """Values of every query in each direction of ``embeddings``; see ``score_directions``.

    ``threads`` (default: usable cores) and ``engine`` change speed and memory, never a bit of the
    result.
    """
    sets = check_sets(query, gallery, label_kind, n_classes)
    tasks = _tasks(embeddings, *sets, label_kind, check_ks(ks))
    measured = _ranked(tasks, sets[0].ids, threads, progress, engine)
    return _in_blocks(measured, sets[0])


def _in_blocks(measured: dict[str, PerQuery], query: Items) -> dict[str, PerQuery]:
    """``measured`` with the queries' blocks, where they have some."""
    if query.blocks is None:
        return measured
    blocks = query.blocks[np.argsort(query.ids, kind="stable")]
    return {direction: replace(part, blocks=blocks) for direction, part in measured.items()}


Tasks = Iterator[tuple[RankingTask, np.ndarray, np.ndarray]]


def _ranked(
    tasks: Tasks,
    ids: np.ndarray,
    threads: int | None,
    progress: Progress | None,
    engine: Engine,
) -> dict[str, PerQuery]:
    with workers(threads) as run:
        return {
            task.direction: measure(task, ids, q, g, run, progress=progress, engine=engine)
            for task, q, g in tasks
        }


def _tasks(
    embeddings: Mapping[str, Arrays], query: Items, gallery: Items, kind: str, ks: Sequence[int]
) -> Tasks:
    """The task of each direction, with the grid vectors of its queries and gallery."""
    for direction in check_directions(embeddings):
        task = make_task(direction, query, gallery, kind, ks)
        yield task, *_codes(*embeddings[direction], query, gallery, f"{direction} ")


def _codes(
    left: np.ndarray, right: np.ndarray, query: Items, gallery: Items, of: str = ""
) -> Arrays:
    """Grid vectors of the query and gallery embeddings ``of`` a direction, checked."""
    q = g = fixed_point(left, f"{of}query embeddings", query.ids)
    if left is not right or len(query) != len(gallery):
        g = fixed_point(right, f"{of}gallery embeddings", gallery.ids)
    check_widths(q, g, f"{of}embeddings")
    return q, g


def score_directions(
    embeddings: Mapping[str, Arrays],
    query: Items,
    gallery: Items,
    *,
    label_kind: str,
    classes: Sequence[str] = (),
    ks: Sequence[int] = KS,
    resamples: int = 1000,
    seed: int = 0,
    approximate: str | None = None,
    threads: int | None = None,
    progress: Progress | None = None,
    engine: Engine = HERE,
) -> dict[str, Any]:
    """All metrics of all given directions, as a JSON-serialisable dict of fractions.

    ``embeddings`` maps a direction (aa bb ab ba, query first) to its query ``(Nq, D)`` and gallery
    ``(Ng, D)`` arrays, floating, not necessarily normalised; rows follow ``query`` and ``gallery``.
    In aa and bb the gallery item with the query's id is left out, in every direction where the
    queries ``leave_pair``; with ``groups`` in both item sets, all items of the query's group.
    ``label_kind`` is multi, single, none or place, ``classes`` names the classes, ``ks`` are the
    cut-offs, intervals are 95 %, bootstrap over queries, or over their ``blocks`` (``resamples``
    ≥ 1,000, or 0 for none).
    ``progress(direction, done, total)`` is called after each block of queries. ``engine`` says
    which device ranks, and which of several processes this is; all of them get the result.

    ``approximate`` names an index of FAISS (flat, ivf, hnsw) whose candidates are ranked, in this
    process alone; there is no ``map`` then, and the tied share is that of the candidates.

    Returns ``scores`` {direction: {metric: {value, low, high}}}, ``chance``, ``per_class``,
    ``counts`` and ``tied_share``; null where a metric is undefined. ``approximate`` is null, or
    holds the index's ``kind``, its ``parameters`` and ``recall`` per direction: recall@k is the
    share of the top k items whose exact score is that of the exact top k or better, mean over
    ``sample`` queries drawn by ``seed``. Equal inputs give equal bytes, whatever the threads or
    the order of the items. Raises UserError naming array and row.
    """
    check_resamples(resamples)
    sets, ks = check_sets(query, gallery, label_kind, len(classes)), check_ks(ks)
    tasks = _tasks(embeddings, *sets, label_kind, ks)
    if approximate is None:
        measured, facts = _ranked(tasks, sets[0].ids, threads, progress, engine), None
    else:
        measured, facts = _from_candidates(tasks, *sets, approximate, seed, threads, progress)
    result = _summarised(
        _in_blocks(measured, sets[0]), *sets, label_kind, classes, ks, resamples, seed
    )
    return result | {"approximate": facts}


def _from_candidates(
    tasks: Tasks,
    query: Items,
    gallery: Items,
    kind: str,
    seed: int,
    threads: int | None,
    progress: Progress | None,
) -> tuple[dict[str, PerQuery], dict[str, Any]]:
    """Values per query, as :func:`per_query` gives them, and what they rest on."""
    measured: dict[str, PerQuery] = {}
    facts: dict[str, Any] = {"kind": kind, "parameters": {}, "recall": {}}
    by_id = positions_of(gallery.ids, np.sort(gallery.ids))
    drawn = np.sort(np.random.default_rng([seed, 2]).permutation(len(query))[:_SAMPLE])
    facts["sample"] = len(drawn)
    for task, q, g in tasks:
        index = Index(kind, g, max(task.ks))
        candidates = nearest_candidates(index, task, q, by_id)
        measured[task.direction] = measure_candidates(task, query.ids, candidates)
        facts["parameters"][task.direction] = index.parameters
        facts["recall"][task.direction] = recall(task, q, g, candidates, drawn, threads)
        if progress is not None:
            progress(task.direction, len(q), len(q))
    return measured, facts


def _summarised(
    measured: Mapping[str, PerQuery],
    query: Items,
    gallery: Items,
    label_kind: str,
    classes: Sequence[str],
    ks: Sequence[int],
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """What ``score_directions`` returns, from the values per query."""
    spread = resampled_metrics(measured, ks, resamples, seed) if resamples else {}
    result: dict[str, Any] = {
        "scores": {}, "chance": {}, "per_class": {}, "counts": {}, "tied_share": {}
    }  # fmt: skip
    for direction, part in measured.items():
        values = means(part.values, ks)
        names = [name for name in metric_names(direction, label_kind, ks) if name in values]
        task = make_task(direction, query, gallery, label_kind, ks)
        random = analytic.chance(task, query.ids)
        result["scores"][direction] = {}
        for name in names:
            low, high = interval(spread[direction][name]) if resamples else (None, None)
            if low is not None and high is not None:  # stretched ones may reach past what can be
                low, high = max(low, 0.0), min(high, 1.0)
            cell = {"value": values[name], "low": low, "high": high}
            result["scores"][direction][name] = cell
        by_chance = means(random.values, ks)
        result["chance"][direction] = {name: by_chance[name] for name in names}
        result["per_class"][direction] = _per_class(task, part, query, classes, names)
        result["counts"][direction] = _counts(task, part, query, gallery)
        result["tied_share"][direction] = part.tied_share
    return result


def _per_class(
    task: RankingTask, part: PerQuery, query: Items, classes: Sequence[str], names: Sequence[str]
) -> dict[str, dict[str, float | None]]:
    """Mean of each metric over the queries that carry a class, by class name."""
    if query.labels is None:
        return {}
    multi = task.kind == "multi"
    labels = query.labels[np.argsort(query.ids, kind="stable")]
    count = labels.shape[1] if multi else max(len(classes), int(labels.max()) + 1)
    titles = list(classes) or [str(c) for c in range(count)]
    table: dict[str, dict[str, float | None]] = {name: {} for name in names}
    for c, title in enumerate(titles):
        rows = np.flatnonzero(labels[:, c] if multi else labels == c)
        values = means(part.values, task.ks, rows)
        for name in names:
            table[name][title] = values[name]
    return table


def _counts(task: RankingTask, part: PerQuery, query: Items, gallery: Items) -> dict[str, Any]:
    counts: dict[str, Any] = {
        "n_query": len(query),
        "n_gallery": len(gallery),
        "n_self_excluded": int((task.own >= 0).sum()),
    }
    if task.groups is not None:
        counts["n_group_excluded_mean"] = float(task.n_left_out.mean())
    if task.pair is not None:
        counts["n_queries_with_pair"] = int((task.pair >= 0).sum())
    if part.blocks is not None:
        counts["n_blocks"] = len(np.unique(part.blocks))
    if part.pair_rank is not None and not np.isnan(part.pair_rank).all():
        counts["pair_rank_median"] = float(np.nanmedian(part.pair_rank))
    if "map" in part.values:
        counts["n_queries_without_relevant"] = int(np.isnan(part.values["map"]).sum())
    for role, items in (("query", query), ("gallery", gallery)):
        if task.kind == "multi" and items.labels is not None:
            counts[f"n_empty_labels_{role}"] = int((items.labels.sum(axis=1) == 0).sum())
    smallest = int(task.sizes.min())
    counts["k_clipped"] = {str(k): smallest for k in task.ks if k > smallest}
    return counts


def top_k(
    query: np.ndarray,
    gallery: np.ndarray,
    k: int,
    query_ids: np.ndarray,
    gallery_ids: np.ndarray,
    exclude_self: bool,
    *,
    index: str = "exact",
    groups: tuple[np.ndarray, np.ndarray] | None = None,
    threads: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest gallery rows of each query: indices (Nq, k) int64 and scores (Nq, k) float32.

    Scores are those of the metrics. Equal scores stand in the order of the gallery's ids. Where
    fewer than k items are left, k is their number (the smallest over the queries). ``index`` is
    exact, or an index of FAISS: flat, ivf or hnsw (see ``scoring.index``). With flat the items are
    the exact ones wherever neighbouring scores differ by more than 1e-6, with the others most are.
    ``groups`` (Nq,) and (Ng,) leave out the items of a query's group, as in the metrics.
    """
    (k,) = check_ks([k])
    of_query, of_gallery = groups or (None, None)
    items = Items(query_ids, groups=of_query), Items(gallery_ids, groups=of_gallery)
    queries, galleries = check_sets(*items, "none", 0)
    task = make_task("aa" if exclude_self else "ab", queries, galleries, "none", (k,))
    q, g = _codes(query, gallery, queries, galleries)
    k = min(k, int(task.sizes.min()))
    by_id = positions_of(galleries.ids, np.sort(galleries.ids))
    if index != "exact":
        candidates = nearest_candidates(Index(index, g, k), task, q, by_id)
        return candidates.rows[:, :k], candidates.scores[:, :k]
    indices = np.empty((len(q), k), np.int64)
    scores = np.empty((len(q), k), np.float32)
    for row, line in exact_rows(task, q, g, np.arange(len(q)), threads):
        least = np.partition(line, len(line) - k)[len(line) - k]
        near = np.flatnonzero(line >= least)
        near = near[np.lexsort((by_id[near], -line[near]))][:k]
        indices[row], scores[row] = near, line[near]
    return indices, scores
