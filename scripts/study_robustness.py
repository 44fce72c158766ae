"""How trained runs fall off where a synthetic set's keys leave what they were trained on.

    python scripts/study_robustness.py ben-14k-twin-2 runs/study/ben-14k-twin-2/*
    python scripts/study_robustness.py ben-14k-twin-2 RUN... --key looks=1,2,5,20

Every run is scored by ``crbench evaluate RUN --on`` against caches of the same card at other values
of a key of its [source]: the same scenes and layouts, seen otherwise. Writes to
results/robustness/<dataset>/ a picture and a table of each key; a score that is there already is
not made again.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from crbench.cards import load_dataset
from crbench.data.cache.build import build_cache
from crbench.draw import sheet
from crbench.draw.robustness import key_curves, robustness_figure
from crbench.errors import UserError
from crbench.evaluation.evaluate import evaluate
from crbench.files import atomic_path
from crbench.records import Record, read_record

ROOT = Path(__file__).resolve().parents[1]
KEYS = {  # speckle, haze, misregistration, and what changed between the dates
    "looks": [1.0, 2.0, 5.0, 15.0, 50.0],
    "haze": [0.0, 1.0, 2.0, 3.5, 5.0],
    "shift": [0.0, 1.0, 2.0, 4.0, 8.0],
    "change": [0.0, 0.05, 0.25, 0.5, 0.75],
}
LOG = {"looks"}
WORDS = {
    "looks": "speckle of the radar, by looks (fewer are noisier)",
    "haze": "haze over the optical sensor",
    "shift": "misregistration of b, most pixels along each axis",
    "change": "share of the pairs whose ground changed between the dates",
}


def scored(dataset: str, runs: Sequence[Path], key: str, values: Sequence[float]) -> list[Record]:
    """The record of each run at each value, made where it is not there yet."""
    place = ROOT / "runs" / "robustness" / dataset
    found = []
    for value in values:
        cache = place / f"{key}={value:g}.h5"
        if not cache.is_file():
            build_cache(load_dataset(dataset, overrides=[f"source.{key}={value}"]), cache)
        for run in runs:
            out = place / f"{key}={value:g}" / f"{run.name}.json"
            if out.is_file():
                found.append(read_record(out))
            else:
                print(f"{key}={value:g}  {run.name}", flush=True)
                found.append(evaluate(run, on=dataset, cache=cache, out=out, quiet=True))
    return found


def write_table(records: Sequence[Record], key: str, metric: str, path: Path) -> None:
    """CSV: method, direction, the key's value, score with its interval over seeds, percent."""
    with atomic_path(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["method", "direction", key, metric, "low", "high", "n"])
        for (title, direction), curve in key_curves(records, key, metric).items():
            for at, effect in curve:
                ends = ["" if v is None else f"{100 * v:.1f}" for v in (effect.low, effect.high)]
                score = f"{100 * effect.value:.1f}"
                table.writerow([title, direction, f"{at:g}", score, *ends, effect.n])


def main() -> int:
    """Score what is missing, then draw; exit code 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--key", action="append", help="KEY=VALUE,VALUE…; repeatable")
    parser.add_argument("--out", type=Path, help="results/robustness/DATASET")
    options = parser.parse_args()
    keys = KEYS
    if options.key:
        pairs = [text.partition("=") for text in options.key]
        keys = {key: [float(v) for v in values.split(",")] for key, _, values in pairs}
    metric = load_dataset(options.dataset).headline[0]
    out = options.out or ROOT / "results" / "robustness" / options.dataset
    for key, values in keys.items():
        records = scored(options.dataset, options.runs, key, values)
        figure = robustness_figure(records, key, metric, words=WORDS.get(key, ""), log=key in LOG)
        sheet.save(figure, out / f"{key}.png")
        write_table(records, key, metric, out / f"{key}.csv")
        print(out / f"{key}.png")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
