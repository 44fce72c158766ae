"""Make the committed records again: every method and floor on the twin and the small real sets.

    python scripts/study_demo.py                     # all three datasets, three seeds
    python scripts/study_demo.py --dataset eurosat-wald --method cr-jepa --seeds 1
    python scripts/study_demo.py --plan              # what is there and what would run

A run whose record is there already, for the same card and the same cache, is not run again, so
a study that was stopped goes on. Records go to results/records/<dataset>/<method>/.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from crbench import train
from crbench.cards import load_dataset, load_method
from crbench.data.cache.build import build_cache
from crbench.data.cache.reading import Cache, default_path, open_cache
from crbench.errors import UserError
from crbench.evaluation.evaluate import evaluate
from crbench.records import read_record
from crbench.run.folder import RunFolder

FLOORS = ("random", "band-stats", "cca", "ridge-cca", "kernel-cca")
METHODS = ("cr-jepa", "x-jepa", "rejepa", *FLOORS)
PAIRED = (*METHODS, "rejepa-paired")
# REJEPA has no cross-modal loss and learns slowest: on the twin alone, with its curve.
ACROSS = ("cr-jepa", "x-jepa", *FLOORS)
STUDY = {
    "ben-14k-twin": METHODS,
    "ben-14k-twin-2": PAIRED,
    "s1s2-places": METHODS,
    "landsat7-pan-ms": ACROSS,
    "eurosat-wald": ACROSS,
}
ALSO = {"s1s2-places": ("far",)}  # protocols beside the card's own: a record of its own each
SEEDLESS = ("band-stats", "cca", "ridge-cca")  # closed-form: every seed gives the same scores
SCALE = "tiny"
# A demo takes the card's own few epochs; real imagery is given the time to settle. Of 20 and 40
# epochs on s1s2-places 40 was better on its split val (pair_r@5, seed 0), before near or far were
# scored once.
EPOCHS = {"landsat7-pan-ms": 20, "eurosat-wald": 20, "s1s2-places": 40}
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Planned:
    """One run of the study and the record that it leaves."""

    dataset: str
    method: str
    seed: int

    def record(self, protocol: str | None = None) -> Path:
        """Where the record of the card's own protocol goes, or of another one."""
        folder = ROOT / "results" / "records" / self.dataset / self.method
        which = f"-{protocol}" if protocol else ""
        return folder / f"{self.method}-{SCALE}-seed{self.seed}{which}.json"

    @property
    def protocols(self) -> tuple[str | None, ...]:
        """The protocols to score; None: the card's own."""
        return (None, *ALSO.get(self.dataset, ()))

    @property
    def epochs(self) -> int | None:
        """Epochs instead of the card's; none for the floors, which do not train."""
        floor = load_method(self.method, scale=SCALE).kind == "floor"
        return None if floor else EPOCHS.get(self.dataset)

    @property
    def digest(self) -> str:
        """Digest of the card as it will be trained."""
        epochs = [] if self.epochs is None else [f"train.epochs={self.epochs}"]
        return load_method(self.method, scale=SCALE, overrides=epochs).digest

    def done(self, cache: Cache, protocol: str | None) -> bool:
        """Whether a record of this very card, cache and protocol is there."""
        if not self.record(protocol).is_file():
            return False
        record = read_record(self.record(protocol))
        return record.method.digest == self.digest and record.dataset.cache_digest == cache.digest


def plan(datasets: list[str], methods: list[str], seeds: int) -> list[Planned]:
    """All runs, seed by seed, so that a board exists early."""
    return [
        Planned(dataset, method, seed)
        for dataset in datasets
        for seed in range(seeds)
        for method in STUDY[dataset]
        if method in methods
        if seed == 0 or method not in SEEDLESS
    ]


def main() -> int:
    """Run what is missing; exit code 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", action="append", choices=tuple(STUDY))
    parser.add_argument("--method", action="append", choices=PAIRED)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seed", type=int, action="append", help="only this seed; repeatable")
    parser.add_argument("--threads", type=int, help="CPU threads of each run")
    parser.add_argument("--plan", action="store_true", help="say what would run, and stop")
    parser.add_argument("--quiet", action="store_true")
    options = parser.parse_args()
    datasets, methods = options.dataset or list(STUDY), options.method or list(PAIRED)
    caches: dict[str, Cache] = {}
    for dataset in datasets:
        card = load_dataset(dataset)
        path = default_path(card)
        caches[dataset] = open_cache(path if path.is_file() else build_cache(card, path))
    for item in plan(datasets, methods, options.seeds):
        cache = caches[item.dataset]
        if options.seed and item.seed not in options.seed:
            continue
        left = [protocol for protocol in item.protocols if not item.done(cache, protocol)]
        done = not left
        label = f"{item.dataset}  {item.method}  seed {item.seed}"
        print(f"{'there   ' if done else 'to run  '} {label}", flush=True)
        if done or options.plan:
            continue
        out = ROOT / "runs" / "study" / item.dataset
        out /= f"{item.method}-{item.digest[:8]}-seed{item.seed}"
        train(
            item.method,
            item.dataset,
            scale=SCALE,
            epochs=item.epochs,
            threads=options.threads,
            seed=item.seed,
            out=out,
            cache=cache.path,
            resume=RunFolder(out).exists(),
            quiet=options.quiet,
        )
        for protocol in left:
            record = evaluate(
                out, cache=cache.path, protocol=protocol, out=item.record(protocol), quiet=True
            )
            for metric in load_dataset(item.dataset).headline:
                values = {d: (record.scores[d].get(metric)) for d in ("aa", "bb", "ab", "ba")}
                shown = "  ".join(f"{d} {100 * (v.value or 0):.1f}" for d, v in values.items() if v)
                print(f"          {protocol or ''} {metric}: {shown}", flush=True)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
