"""What scoring costs as the gallery grows: exact ranking, and FAISS indexes with their recall.

    python scripts/bench_scale.py --json                       # 10 k, 100 k and 1 M × 256
    python scripts/bench_scale.py --sizes 10000 --kinds exact ivf

Vectors are synthetic: points around centres, as embeddings of classes are. Time is per query, from
few of them, on the clock and in core-seconds (of all threads), which other work on the machine
hardly changes; memory is the peak above what the process held before. Nothing is extrapolated.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from typing import Any

import numpy as np
from bench_scoring import reset_peak, resident

from crbench import machine
from crbench.scoring import Items
from crbench.scoring.index import Index, nearest_candidates, recall
from crbench.scoring.metrics import RankingTask, make_task, measure
from crbench.scoring.tiles import fixed_point, workers

CENTRES = 1_000
KS = (1, 5, 10, 20, 50, 100)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--kinds", nargs="+", default=["exact", "flat", "ivf", "hnsw"])
    parser.add_argument("--hnsw-most", type=int, default=100_000, help="no larger graph is built")
    parser.add_argument("--dims", type=int, default=256)
    parser.add_argument("--queries", type=int, default=128)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    args = parser.parse_args()
    import faiss

    faiss.omp_set_num_threads(args.threads)
    points = []
    for n in args.sizes:
        task, query, gallery = problem(n, args.queries, args.dims)
        for kind in args.kinds:
            if kind == "hnsw" and n > args.hnsw_most:
                continue
            points.append({"n": n, "kind": kind} | cost(kind, task, query, gallery, args.threads))
            if not args.json:
                print(points[-1], flush=True)
    if args.json:
        about = {
            "date": machine.now_utc(),
            "hardware": machine.hardware(),
            "versions": machine.versions(),
            "load_average": os.getloadavg()[0],
            "gpus": int(faiss.get_num_gpus()),
            "dims": args.dims,
            "queries": args.queries,
            "threads": args.threads,
        }
        print(json.dumps(about | {"points": points}))


def problem(n: int, queries: int, dims: int) -> tuple[RankingTask, np.ndarray, np.ndarray]:
    """Queries that are not in the gallery, as codes; 20 classes."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CENTRES, dims), dtype=np.float32)

    def drawn(count: int) -> tuple[np.ndarray, np.ndarray]:
        codes = np.empty((count, dims), np.int32)
        which = rng.integers(0, CENTRES, count)
        for start in range(0, count, 50_000):
            part = which[start : start + 50_000]
            noise = rng.standard_normal((len(part), dims), dtype=np.float32)
            codes[start : start + 50_000] = fixed_point(centres[part] + noise, "vectors")
        return codes, which % 20

    (query, query_labels), (gallery, gallery_labels) = drawn(queries), drawn(n)
    q = Items(np.array([f"q{i}" for i in range(queries)]), query_labels)
    g = Items(np.array([f"g{i}" for i in range(n)]), gallery_labels)
    return make_task("ab", q, g, "single", KS), query, gallery


def cost(
    kind: str, task: RankingTask, query: np.ndarray, gallery: np.ndarray, threads: int
) -> dict[str, Any]:
    """Seconds to build, milliseconds per query (each on the clock and of cores), peak GiB above
    the vectors, recall."""
    reset_peak()
    before = resident("VmRSS")
    began = now()
    if kind == "exact":
        with workers(threads) as run:
            measure(task, np.arange(len(query)).astype(str), query, gallery, run)
        spent = now() - began
        extra = resident("VmHWM") - before
        found: dict[str, Any] = {
            "build_s": [0.0, 0.0],
            "parameters": {},
            "recall": {"1": 1.0, "100": 1.0},
        }
    else:
        index = Index(kind, gallery, max(KS))
        built = now()
        candidates = nearest_candidates(index, task, query, np.arange(len(gallery)))
        spent = now() - built
        extra = resident("VmHWM") - before
        values = recall(task, query, gallery, candidates, np.arange(len(query)), threads)
        found = {
            "build_s": rounded(built - began),
            "parameters": index.parameters,
            "recall": {k: round(values[k], 4) for k in ("1", "100")},
        }
    return found | {
        "ms_per_query": rounded(1000 * spent / len(query)),
        "peak_extra_gib": round(extra, 3),
    }


def now() -> np.ndarray:
    """Seconds on the clock, and those of all cores that this process took."""
    return np.array([time.perf_counter(), time.process_time()])


def rounded(values: np.ndarray) -> list[float]:
    return [round(float(value), 3) for value in values]


if __name__ == "__main__":
    main()
