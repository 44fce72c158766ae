"""Time of one answer of `crbench search` against the inner product alone, both in turn.

    python scripts/bench_search.py --json           # one query × 80,000 items × 256 dims
    python scripts/bench_search.py --small          # the same in a second, for a look

One row of the result per key:
  inner_product_ms    a plain float32 product of the stored gallery and the query's vector
  answer_ms           from the query's vector to ids, scores, labels and what is right
  over_inner_product  the latter ÷ the former
  crowded_ms, over_inner_product_crowded, crowded_candidates
                      the same where the embeddings have nearly collapsed: each class is one
                      narrow bundle, so that many items have to be scored exactly
  by_id_ms            the first, with the query's vector read from the run's embeddings
  build_s, open_s     making the stored index, and opening it: its digest and lengths
  index_mb            its size on the disk
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from crbench.archive.archive import Search
from crbench.archive.queries import Queries
from crbench.cards import load_dataset
from crbench.data.cache.reading import Cache
from crbench.embedding.file import write_embeddings
from crbench.files import sha256_file
from crbench.records import Serves
from crbench.run.folder import RunFolder, RunInfo
from crbench.run.opened import OpenedRun
from crbench.scoring.search import Gallery, error_bound, scale_rows

CLASSES = 8  # DSRSID: 8 classes of 10,000
SPREAD = {"usual": 1.0, "crowded": 0.02}  # of the noise around a class's centre of unit entries


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--gallery", type=int, default=80_000)
    parser.add_argument("--dims", type=int, default=256)
    parser.add_argument("--top", type=int, default=20)
    parser.add_argument("--repeats", type=int, default=51)
    parser.add_argument("--small", action="store_true", help="2,000 × 16, 5 repeats")
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    args = parser.parse_args()
    if args.small:
        args.gallery, args.dims, args.repeats = 2_000, 16, 5
    with tempfile.TemporaryDirectory() as folder:
        result = measure(Path(folder), args)
    if args.json:
        print(json.dumps(result))
    else:
        for key, value in result.items():
            print(f"{key:26s} {value:.4g}")


def measure(folder: Path, args: argparse.Namespace) -> dict[str, float]:
    """All keys of the result; the run that is searched in is made in ``folder``."""
    search = archive(folder, vectors(args, "usual"))
    started = time.perf_counter()
    search.gallery("b/v")
    built = time.perf_counter() - started
    search._galleries.clear()
    started = time.perf_counter()
    gallery = search.gallery("b/v")
    opened = time.perf_counter() - started
    queries = np.random.default_rng(1).integers(0, args.gallery, args.repeats + 1)
    turn = iter(np.repeat(queries, 3).tolist())
    ids = search.cache.ids

    def one(vectors: np.ndarray) -> Callable[[], Any]:
        def ask() -> Any:
            row = next(turn)
            return search.answer(vectors[row], "ab", args.top, str(ids[row]), row=row)

        return ask

    def product(vectors: np.ndarray) -> Callable[[], Any]:
        return lambda: vectors @ vectors[next(turn)]

    usual = interleaved(
        {
            "product": product(gallery.vectors),
            "answer": one(gallery.vectors),
            "id": lambda: search.by_id(str(ids[next(turn)]), "ab", args.top),
        },
        args.repeats,
    )
    crowd = scale_rows(vectors(args, "crowded"))
    search._galleries["b/v"] = Gallery(ids, crowd)
    turn = iter(np.repeat(queries, 3).tolist())
    crowded = interleaved({"product": product(crowd), "answer": one(crowd)}, args.repeats)
    file = next(search.queries.run.folder.index.glob("*.npy"))
    return {
        "inner_product_ms": 1e3 * usual["product"],
        "answer_ms": 1e3 * usual["answer"],
        "over_inner_product": usual["answer"] / usual["product"],
        "crowded_ms": 1e3 * crowded["answer"],
        "over_inner_product_crowded": crowded["answer"] / crowded["product"],
        "crowded_candidates": candidates(crowd, queries[:5], args.top),
        "by_id_ms": 1e3 * usual["id"],
        "build_s": built,
        "open_s": opened,
        "index_mb": file.stat().st_size / 1e6,
    }


def vectors(args: argparse.Namespace, spread: str) -> np.ndarray:
    """Embeddings (N, D) float32 in bundles, one a class, class by class."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((CLASSES, args.dims))
    noise = rng.standard_normal((args.gallery, args.dims))
    return (centres[labels(args.gallery)] + SPREAD[spread] * noise).astype(np.float32)


def labels(n: int) -> np.ndarray:
    return np.arange(n) * CLASSES // n


def archive(folder: Path, embeddings: np.ndarray) -> Search:
    """A run in ``folder`` with these embeddings of the pairs of a set like DSRSID, all of which are
    the gallery; its images and its model are not there, since nothing is embedded here."""
    card, n = load_dataset("dsrsid"), len(embeddings)
    ids = np.array([f"pair-{row:06d}" for row in range(n)])
    split = np.full(n, "test")
    attributes: dict[str, Any] = {"/": {"sha256": {}}}
    cache = Cache(folder / "cache.h5", card, n, ids, split, labels(n), attributes, {})
    run = RunFolder(folder)
    write_embeddings(run.embeddings, ids, {"a/v": embeddings, "b/v": embeddings},
                     {"ab": Serves(query="v", gallery="v")})  # fmt: skip
    protocol = card.protocols[card.protocol].model_copy(update={"gallery": ["test"]})
    queries = Queries(OpenedRun(run, RunInfo.model_construct(), cache))
    digest = sha256_file(run.embeddings)
    return Search(queries, protocol, "all", {"ab": ("a/v", "b/v")}, digest=digest)


def candidates(gallery: np.ndarray, queries: np.ndarray, top: int) -> float:
    """Mean number of items that are scored exactly."""
    unit = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
    scores = unit[queries] @ unit.T
    least = np.sort(scores, axis=1)[:, -top] - 2 * error_bound(gallery.shape[1])
    return float((scores >= least[:, None]).sum(axis=1).mean())


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


if __name__ == "__main__":
    main()
