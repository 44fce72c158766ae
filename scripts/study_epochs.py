"""Scores against training length: one run, with its whole schedule, for each number of epochs.

    python scripts/study_epochs.py rejepa ben-14k-twin --epochs 0 2 4 8 16

Writes results/curves/<dataset>/<method>.json and .png: the headline metric in four directions,
with the untrained model (0 epochs) and chance. Runs that are there already are not run again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from crbench import train
from crbench.cards import load_dataset
from crbench.data.cache.build import build_cache
from crbench.data.cache.reading import default_path
from crbench.errors import UserError
from crbench.evaluation.evaluate import evaluate
from crbench.files import atomic_path, write_json
from crbench.records import Record, read_record
from crbench.run.folder import RunFolder

ROOT = Path(__file__).resolve().parents[1]
SCALE = "tiny"


def records(method: str, dataset: str, epochs: list[int], seed: int) -> list[Record]:
    """The record of each training length, trained where it is not there yet."""
    cache = default_path(load_dataset(dataset))
    if not cache.is_file():
        build_cache(load_dataset(dataset), cache)
    found = []
    for number in epochs:
        out = ROOT / "runs" / "epochs" / dataset / method / f"{number}-seed{seed}"
        run = RunFolder(out)
        train(method, dataset, scale=SCALE, epochs=number, seed=seed, out=out, resume=run.exists())
        path = run.record
        found.append(read_record(path) if path.is_file() else evaluate(out, quiet=True))
    return found


def draw(found: list[Record], metric: str, path: Path) -> None:
    """One line a direction with its interval over queries, and chance dotted."""
    figure, axes = plt.subplots(figsize=(6.4, 4), layout="constrained")
    names = {which: entry.name for which, entry in found[0].modalities.items()}
    epochs = [record.training.epochs_planned for record in found]
    for direction in found[0].scores:
        values = [record.scores[direction][metric] for record in found]
        label = f"{names[direction[0]]}→{names[direction[1]]}"
        (line,) = axes.plot(epochs, [100 * (v.value or 0) for v in values], "o-", label=label)
        low, high = ([100 * (getattr(v, end) or 0) for v in values] for end in ("low", "high"))
        axes.fill_between(epochs, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    chance = found[0].chance["ab"][metric]
    if chance is not None:
        axes.axhline(100 * chance, color="grey", linestyle=":", label="chance")
    first = found[0]
    axes.set(xlabel="epochs of training (0: untrained)", ylabel=f"{metric}, percent")
    axes.set_title(f"{first.method.title}, scale {SCALE}, {first.dataset.title}", fontsize=10)
    axes.legend(frameon=False, fontsize=8, ncols=3)
    axes.spines[["top", "right"]].set_visible(False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=150, format="png", metadata={"Software": None})


def main() -> int:
    """Train what is missing, write the numbers and the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("method")
    parser.add_argument("dataset")
    parser.add_argument("--epochs", type=int, nargs="+", default=[0, 2, 4, 8, 16])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    found = records(options.method, options.dataset, sorted(options.epochs), options.seed)
    metric = load_dataset(options.dataset).headline[0]
    folder = ROOT / "results" / "curves" / options.dataset
    lines = [
        {
            "epochs": record.training.epochs_planned,
            "train_s": round(record.training.seconds, 1),
            **{d: values[metric].model_dump() for d, values in record.scores.items()},
        }
        for record in found
    ]
    about = {"metric": metric, "scale": SCALE, "seed": options.seed, "created": found[-1].created}
    about |= {"dataset": found[0].dataset.title, "cache_digest": found[0].dataset.cache_digest}
    write_json(folder / f"{options.method}.json", {**about, "lengths": lines})
    draw(found, metric, folder / f"{options.method}.png")
    print(folder / f"{options.method}.png")
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
