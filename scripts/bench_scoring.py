"""Time of exact scoring against other ways to it, everything interleaved in one run.

    python scripts/bench_scoring.py --json          # 256 queries × 80,000 items × 256 dims
    python scripts/bench_scoring.py --small         # the same in seconds, for a look

One row of the result per key:
  over_numpy_sort     ranking, AP and P@5 of given scores on two threads ÷ one-thread numpy sort
  over_inner_product  embeddings to values ÷ a plain float32 product of the same arrays
  over_exact_product  the same ÷ our own exact products alone
  vs_torch_sort       a ranking by torch.sort ÷ ours
  vs_sklearn          average_precision_score per query ÷ ours
  vs_pytrec_eval      pytrec_eval on the same ranking ÷ ours (timed on a few queries, scaled)
  max_abs_diff        largest difference from scikit-learn's AP and pytrec_eval's AP and P@5
  exponent            b of cost ∝ N^b for a full direction of N × N, fitted on given sizes
  peak_extra_gib      peak memory above the embeddings in the full direction
  full_direction_s    a full N × N direction, estimated from a share of its queries
"""

from __future__ import annotations

import argparse
import contextlib
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from crbench.scoring import Items
from crbench.scoring.metrics import (
    QueryValues,
    RankingTask,
    empty_values,
    make_task,
    measure,
    rank_rows,
)
from crbench.scoring.tiles import QUERY_TILE, fixed_point, score_tile, workers
from crbench.words import KS

CLASSES = 8  # DSRSID: 8 classes of 10,000


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--queries", type=int, default=256)
    parser.add_argument("--gallery", type=int, default=80_000)
    parser.add_argument("--dims", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--share", type=float, default=0.05, help="of the full direction's queries")
    parser.add_argument("--small", action="store_true", help="64 queries × 8,000 × 64, 3 repeats")
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    args = parser.parse_args()
    if args.small:
        args.queries, args.gallery, args.dims, args.repeats = 64, 8_000, 64, 3
    result = scaling(args)  # first: the other parts leave memory behind that it would count
    result = given_scores(args) | whole_scoring(args) | result
    if args.json:
        print(json.dumps(result))
    else:
        for key, value in result.items():
            print(f"{key:20s} {value}")


def problem(queries: int, gallery: int, ks: tuple[int, ...]) -> RankingTask:
    """Queries that are not in the gallery, labels of equal frequency stored class by class."""
    rng = np.random.default_rng(0)
    q = Items(np.array([f"q{i}" for i in range(queries)]), rng.integers(0, CLASSES, queries))
    g = Items(np.array([f"g{i}" for i in range(gallery)]), np.arange(gallery) * CLASSES // gallery)
    return make_task("ab", q, g, "single", ks)


def interleaved(jobs: dict[str, Callable[[], Any]], repeats: int) -> dict[str, float]:
    """Median seconds of each job, all jobs taking turns; one untimed round first."""
    times: dict[str, list[float]] = {name: [] for name in jobs}
    for turn in range(repeats + 1):
        for name, job in jobs.items():
            start = time.perf_counter()
            job()
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def given_scores(args: argparse.Namespace) -> dict[str, float]:
    """Ranking alone: every row a permutation of the same distinct float32 values."""
    import pytrec_eval
    import torch
    from sklearn.metrics import average_precision_score

    torch.set_num_threads(args.threads)
    rng = np.random.default_rng(1)
    distinct = (np.arange(args.gallery) - args.gallery // 2).astype(np.float32) / np.float32(2**17)
    scores = np.stack([rng.permutation(distinct) for _ in range(args.queries)])
    task = problem(args.queries, args.gallery, (5,))
    relevance = task.relevance
    assert relevance is not None
    relevant = relevance.query[:, None] == relevance.gallery[None, :]
    order = np.argsort(relevance.query, kind="stable")
    grouped = scores[order]  # rank_rows takes the rows of its block, equal labels together
    found = empty_values(task)
    few = range(min(4, args.queries))
    many = range(min(32, args.queries))
    names = [f"g{i}" for i in range(args.gallery)]
    judge = pytrec_eval.RelevanceEvaluator(
        {str(q): dict(zip(names, relevant[q].astype(int).tolist(), strict=True)) for q in few},
        {"map", "P.5"},
    )
    runs = {str(q): dict(zip(names, scores[q].tolist(), strict=True)) for q in few}
    tensor, marks = torch.from_numpy(scores), torch.from_numpy(relevant)
    theirs: dict[str, Any] = {}

    def ours() -> None:
        rank_rows(task, order, grouped, found, run)

    def torch_sort() -> torch.Tensor:
        at = torch.sort(tensor, dim=1, descending=True).indices
        hits = torch.gather(marks, 1, at).double()
        precision = hits.cumsum(1) / torch.arange(1, args.gallery + 1)
        return torch.stack([(precision * hits).sum(1) / hits.sum(1), hits[:, :5].mean(1)])

    def scikit() -> None:
        theirs["ap"] = [average_precision_score(relevant[q], scores[q]) for q in many]

    def pytrec() -> None:
        theirs["trec"] = judge.evaluate(runs)

    with workers(args.threads) as run:
        seconds = interleaved(
            {
                "numpy": lambda: np.sort(scores, axis=1),
                "ours": ours,
                "torch": torch_sort,
                "sklearn": scikit,
                "pytrec": pytrec,
            },
            args.repeats,
        )
    return {
        "numpy_sort_s": seconds["numpy"],
        "ours_s": seconds["ours"],
        "over_numpy_sort": seconds["ours"] / seconds["numpy"],
        "vs_torch_sort": seconds["torch"] / seconds["ours"],
        "vs_sklearn": seconds["sklearn"] / len(many) * args.queries / seconds["ours"],
        "vs_pytrec_eval": seconds["pytrec"] / len(few) * args.queries / seconds["ours"],
        "max_abs_diff": difference(found, theirs, torch_sort().numpy()),
    }


def difference(found: QueryValues, theirs: dict[str, Any], torch_values: np.ndarray) -> float:
    """Largest difference of our AP and P@5 from the other programs' values."""
    ap = found.whole[:, 0]
    gaps = [np.abs(torch_values[0] - ap), np.abs(torch_values[1] - found.precision[:, 0])]
    gaps.append(np.abs(np.array(theirs["ap"]) - ap[: len(theirs["ap"])]))
    for q, values in theirs["trec"].items():
        gaps.append(np.abs([values["map"] - ap[int(q)]]))
        gaps.append(np.abs([values["P_5"] - found.precision[int(q), 0]]))
    return float(max(gap.max() for gap in gaps))


def whole_scoring(args: argparse.Namespace) -> dict[str, float]:
    """From embeddings to values, against the products alone."""
    rng = np.random.default_rng(2)
    query = rng.standard_normal((args.queries, args.dims)).astype(np.float32)
    gallery = rng.standard_normal((args.gallery, args.dims)).astype(np.float32)
    q, g = fixed_point(query, "query"), fixed_point(gallery, "gallery")
    task = problem(args.queries, args.gallery, KS)
    ids = np.arange(args.queries).astype(str)
    buffer = np.empty((QUERY_TILE, args.gallery), np.float32)

    def products() -> None:
        for start in range(0, args.queries, QUERY_TILE):
            score_tile(q[start : start + QUERY_TILE], g, buffer, run)

    with workers(args.threads) as run:
        seconds = interleaved(
            {
                "float32": lambda: query @ gallery.T,
                "exact": products,
                "whole": lambda: measure(task, ids, q, g, run),
            },
            args.repeats,
        )
    return {
        "inner_product_s": seconds["float32"],
        "exact_product_s": seconds["exact"],
        "whole_s": seconds["whole"],
        "over_inner_product": seconds["whole"] / seconds["float32"],
        "over_exact_product": seconds["whole"] / seconds["exact"],
    }


def scaling(args: argparse.Namespace) -> dict[str, Any]:
    """Cost of N × N for growing N, from a share of the queries; peak memory at the largest."""
    sizes = [args.gallery // 8, args.gallery // 4, args.gallery // 2, args.gallery]
    seconds: dict[int, float] = {}
    peak = 0.0
    rng = np.random.default_rng(3)
    for n in sizes:
        embeddings = rng.standard_normal((n, args.dims)).astype(np.float32)
        queries = max(QUERY_TILE, round(args.share * n / QUERY_TILE + 0.5) * QUERY_TILE)
        queries = min(queries, n)
        task = problem(queries, n, KS)
        ids = np.arange(queries).astype(str)
        reset_peak()
        before = resident("VmRSS")
        start = time.perf_counter()
        codes = fixed_point(embeddings, "gallery")
        prepared = time.perf_counter()
        with workers(args.threads) as run:
            measure(task, ids, codes[:queries], codes, run)
        done = time.perf_counter()
        seconds[n] = (prepared - start) + (done - prepared) * n / queries
        peak = resident("VmHWM") - before
        del codes
    slope = np.polyfit(np.log(sizes), np.log([seconds[n] for n in sizes]), 1)[0]
    return {
        "full_direction_s": seconds[sizes[-1]],
        "seconds_by_n": {str(n): s for n, s in seconds.items()},
        "exponent": float(slope),
        "peak_extra_gib": peak,
    }


def reset_peak() -> None:
    """Start the kernel's high-water mark of this process anew, where that is possible."""
    with contextlib.suppress(OSError):  # the mark then covers the whole run: an upper bound
        Path("/proc/self/clear_refs").write_text("5")


def resident(key: str) -> float:
    """``VmRSS`` (now) or ``VmHWM`` (peak) of this process in GiB; NaN where not on Linux."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return float("nan")
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) / 2**20


if __name__ == "__main__":
    main()
