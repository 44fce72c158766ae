"""Metrics of the top k from candidates, for galleries too large to be ranked; never mAP.

A query's candidates stand for its ranking. How good they are is measured on a sample of queries
and belongs to every number made from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Unpack

import numpy as np

from crbench.scoring import ranking
from crbench.scoring.engine import rows_in_memory
from crbench.scoring.index import Candidates, Index, nearest_candidates
from crbench.scoring.metrics import (
    PerQuery,
    Progress,
    RankingTask,
    empty_values,
    make_task,
    named_values,
)
from crbench.scoring.protocol import Arrays, Items, check_directions, check_ks
from crbench.scoring.relevance import judge_labels
from crbench.scoring.score import SummaryOptions, check_sets, codes_of, summarise
from crbench.scoring.tiles import GALLERY_TILE, QUERY_TILE, score_tile, workers
from crbench.words import KS, PAIR_KS

_SAMPLE = 256  # queries on which recall is measured


def score_approximately(
    embeddings: Mapping[str, Arrays],
    query: Items,
    gallery: Items,
    kind: str,
    *,
    threads: int | None = None,
    progress: Progress | None = None,
    **options: Unpack[SummaryOptions],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """As :func:`score_directions`, without ``map``, from the candidates of an index of ``kind``.

    Returns its result and what it rests on: ``parameters`` of the index and ``recall``, both per
    direction; recall@k is the share of the top k items whose exact score is that of the exact top
    k or better, mean over ``sample`` queries drawn by ``seed``. The tied share is that of the
    candidates.
    """
    label_kind, ks = options["label_kind"], check_ks(options.get("ks", KS))
    query, gallery = check_sets(query, gallery, label_kind, len(options.get("classes", ())))
    measured: dict[str, PerQuery] = {}
    facts: dict[str, Any] = {"kind": kind, "parameters": {}, "recall": {}}
    by_id = np.argsort(np.argsort(gallery.ids, kind="stable"), kind="stable")
    for direction in check_directions(embeddings):
        task = make_task(direction, query, gallery, label_kind, ks)
        q, g = codes_of(task, embeddings[direction], query, gallery)
        index = Index(kind, g, max(ks))
        candidates = nearest_candidates(index, task, q, by_id)
        measured[direction] = measure_candidates(task, query.ids, candidates)
        drawn = np.random.default_rng([options.get("seed", 0), 2]).permutation(len(q))[:_SAMPLE]
        drawn = np.sort(drawn)
        facts["parameters"][direction] = index.parameters
        facts["recall"][direction] = recall(task, q, g, candidates, drawn, threads)
        facts["sample"] = len(drawn)
        if progress is not None:
            progress(direction, len(q), len(q))
    return summarise(measured, query, gallery, **options), facts


def measure_candidates(task: RankingTask, ids: np.ndarray, candidates: Candidates) -> PerQuery:
    """Values per query, as :func:`metrics.measure` gives them, without ``map``."""
    values = empty_values(task)
    ks, tied, total = np.asarray(task.ks), 0, 0
    for q in range(len(candidates.rows)):
        kept = candidates.rows[q] >= 0
        near, line = candidates.rows[q][kept], candidates.scores[q][kept]
        ascending = line[::-1]
        tied += ranking.count_tied(ranking.repeats(ascending))
        total += len(near)
        if task.pair is not None and task.pair[q] >= 0:
            at = np.flatnonzero(near == task.pair[q])
            values.pair[q] = 0.0
            if len(at):
                score = line[at[0]]
                values.pair[q] = ranking.recall_of_one(ascending, score, np.asarray(PAIR_KS))
        if task.relevance is None:
            continue
        codes = task.relevance.gallery[near]
        relevant, judged = judge_labels(task.relevance, int(task.relevance.query[q]))
        cut = ranking.cuts(ascending, ks)
        values.precision[q] = ranking.precision_at(cut, ascending[relevant[codes][::-1]])
        if judged is not None:
            values.items[:, q] = ranking.means_at(cut, line, codes, judged)
    part = named_values(task, ids, values, tied / max(total, 1))
    part.values.pop("map", None)
    return part


def recall(
    task: RankingTask,
    query: np.ndarray,
    gallery: np.ndarray,
    candidates: Candidates,
    rows: np.ndarray,
    threads: int | None = None,
) -> dict[str, float]:
    """Recall@k of the candidates of the queries at ``rows``, against exact scores of everything."""
    reached: dict[str, list[float]] = {str(k): [] for k in task.ks}
    size = rows_in_memory(len(gallery), QUERY_TILE)
    buffer = np.empty((size, len(gallery)), np.float32)
    with workers(threads) as run:
        for start in range(0, len(rows), size):
            block = rows[start : start + size]
            scores = score_tile(query[block], gallery, buffer, run, (size, GALLERY_TILE))
            for line, q in zip(scores, block, strict=True):
                line[task.left_out(int(q))] = -np.inf
                ascending = np.sort(line)
                for k in task.ks:
                    top = min(k, int(task.sizes[q]))
                    least = ascending[len(ascending) - top]
                    reached[str(k)].append(float((candidates.scores[q, :top] >= least).mean()))
    return {k: float(np.mean(values)) for k, values in reached.items()}
