"""How hard a twin of generator 2 is: chance, floors, a supervised reference and the ceiling.

    python scripts/calibrate_twin.py ben-14k-twin-2
    python scripts/calibrate_twin.py ben-14k-twin-2 --set source.looks=2 --seed 1001 --json

On a seed of its own, 1000, which is never scored. The settings of the cards were chosen by these
figures alone: in every direction the floors reach at most 60 % of the way from chance to the
ceiling, the supervised reference well more. No method was run for it. Floors: z-scored band
statistics (within a sensor), and ridge CCA of them with ρ-weighted components (both within and
across), ridge and components chosen on ``val``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from crbench.cards import ProtocolCard, load_dataset
from crbench.data.cache.build import build_cache
from crbench.data.cache.reading import Cache, open_cache
from crbench.errors import UserError
from crbench.evaluation.ceiling import ceilings
from crbench.evaluation.evaluate import query_and_gallery
from crbench.models.baselines import band_statistics
from crbench.models.canonical import Spectrum, ridge_cca
from crbench.scoring import score_directions
from crbench.words import DIRECTIONS, MODALITIES

Vectors = dict[str, np.ndarray]  # modality → (N, D), every pair of the cache
PERCENTILES = (10.0, 50.0, 90.0)
RIDGES, COMPONENTS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0), (4, 8, 16, 32)
EPOCHS = 20


def standardised(data: Cache) -> Vectors:
    """Band statistics of every image, z-scored by those of the training pairs."""
    train = data.rows(["train"])
    vectors = {}
    for m in MODALITIES:
        images = torch.from_numpy(np.asarray(data.images(m)).astype(np.float32))
        values = band_statistics(images, PERCENTILES).flatten(1).double().numpy()
        spread = values[train].std(0)
        vectors[m] = (values - values[train].mean(0)) / np.where(spread > 0, spread, 1)
    return vectors


def projected(x: Vectors, train: np.ndarray, ridge: float, components: int) -> Vectors:
    """Canonical variates with ridge on both sides, each component times its correlation."""
    spectra = [Spectrum.of(torch.from_numpy(x[m][train])) for m in MODALITIES]
    found = ridge_cca(*spectra, ridge)
    weights = found.correlations[:components].numpy()
    sides = zip(MODALITIES, found[:2], strict=True)
    return {m: x[m] @ side[:, :components].numpy() * weights for m, side in sides}


def supervised(data: Cache, seed: int = 0) -> Vectors:
    """Class posteriors of a small convolutional net per sensor, trained with the labels."""
    torch.manual_seed(seed)
    train, card = data.rows(["train"]), data.card
    multi, classes = card.labels.kind == "multi", len(card.labels.classes)
    assert data.labels is not None
    vectors = {}
    for m in MODALITIES:
        images = torch.from_numpy(np.asarray(data.images(m)).astype(np.float32))
        if images.shape[-1] > 64:
            images = nn.functional.avg_pool2d(images, images.shape[-1] // 64)
        mean, std = (f(images[train], dim=(0, 2, 3), keepdim=True) for f in (torch.mean, torch.std))
        images = (images - mean) / std
        net = _net(images.shape[1], classes)
        optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.05)
        steps = EPOCHS * (len(train) // 64)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
        target = torch.from_numpy(data.labels[train])
        loss: Callable[[Tensor, Tensor], Tensor] = (
            nn.functional.binary_cross_entropy_with_logits if multi else nn.functional.cross_entropy
        )
        for _ in range(EPOCHS):
            order = torch.randperm(len(train))[: len(train) // 64 * 64]
            for rows in order.split(64):
                batch = images[train[rows.numpy()]]
                if torch.rand(()) < 0.5:
                    batch = batch.flip(-1)
                batch = torch.rot90(batch, int(torch.randint(4, ())), (2, 3))
                wanted = target[rows].float() if multi else target[rows]
                optimizer.zero_grad()
                loss(net(batch), wanted).backward()
                optimizer.step()
                schedule.step()
        net.eval()
        with torch.no_grad():
            logits = torch.cat([net(part) for part in images.split(256)])
        vectors[m] = (logits.sigmoid() if multi else logits.softmax(1)).double().numpy()
    return vectors


def _net(bands: int, classes: int) -> nn.Module:
    def block(i: int, o: int) -> list[nn.Module]:
        return [nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o), nn.ReLU(), nn.MaxPool2d(2)]

    layers = [*block(bands, 32), *block(32, 64), *block(64, 96)]
    return nn.Sequential(
        *layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.1), nn.Linear(96, classes)
    )


def scores(
    data: Cache, vectors: dict[str, Vectors], metrics: list[str], protocol: ProtocolCard
) -> dict[str, dict[str, float]]:
    """``metrics`` by direction; ``vectors``: direction → what serves it."""
    query, gallery = query_and_gallery(data, protocol)
    rows = {name: k for k, name in enumerate(data.ids.tolist())}
    at = [np.array([rows[name] for name in items.ids]) for items in (query, gallery)]
    arrays = {d: (v[d[0]][at[0]], v[d[1]][at[1]]) for d, v in vectors.items()}
    labels = data.card.labels
    result = score_directions(
        arrays, query, gallery, label_kind=labels.kind, classes=labels.classes, resamples=0
    )
    return {
        "values": {d: {m: result["scores"][d][m]["value"] for m in metrics} for d in arrays},
        "chance": {d: {m: result["chance"][d][m] for m in metrics} for d in arrays},
    }  # type: ignore[return-value]


def calibration(data: Cache) -> dict[str, Any]:
    """Every figure of the twin in ``data``, as fractions, by row, metric and direction."""
    card = data.card
    metrics, protocol = list(card.headline), card.protocols[card.protocol]
    if set(protocol.gallery) & set(card.train_splits):
        # the reference has seen the labels of a gallery of training pairs, and would keep them
        unseen = sorted({*protocol.query, *protocol.gallery} - set(card.train_splits))
        protocol = ProtocolCard(query=unseen, gallery=unseen)
    x, train = standardised(data), data.rows(["train"])
    inside = ProtocolCard(query=["val"], gallery=["val"])
    tried = {}
    for ridge in RIDGES:
        for components in COMPONENTS:
            if components <= min(x[m].shape[1] for m in MODALITIES):
                found = projected(x, train, ridge, components)
                values = scores(data, dict.fromkeys(("ab", "ba"), found), metrics[:1], inside)
                tried[ridge, components] = np.mean(
                    [v[metrics[0]] for v in values["values"].values()]
                )
    best = max(tried, key=lambda key: tried[key])
    cca = projected(x, train, *best)
    rows: dict[str, Any] = {}
    rows["band statistics, z-scored"] = scores(
        data, dict.fromkeys(("aa", "bb"), x), metrics, protocol
    )
    rows["ridge CCA"] = scores(data, dict.fromkeys(DIRECTIONS, cca), metrics, protocol)
    rows["supervised"] = scores(
        data, dict.fromkeys(DIRECTIONS, supervised(data)), metrics, protocol
    )
    chance = rows["ridge CCA"]["chance"]
    query, gallery = query_and_gallery(data, protocol)
    ceiling = ceilings(data, query, gallery, DIRECTIONS, (5,))
    table = {}
    for metric in metrics:
        table[metric] = {
            d: {
                "chance": chance[d][metric],
                **{
                    name: row["values"][d][metric]
                    for name, row in rows.items()
                    if d in row["values"]
                },
                "ceiling": ceiling[d][metric],
            }
            for d in DIRECTIONS
        }
    return {"dataset": card.name, "seed": card.source["seed"], "ridge": best[0],
            "components": best[1], "metrics": table}  # fmt: skip


def show(result: dict[str, Any]) -> None:
    """Percent, and how far each row comes from chance to the ceiling."""
    print(f"{result['dataset']}, seed {result['seed']}: ridge {result['ridge']:g}, "
          f"{result['components']} components")  # fmt: skip
    for metric, by_direction in result["metrics"].items():
        print(metric)
        for d, values in by_direction.items():
            low, high = values["chance"], values["ceiling"]
            texts = [
                f"{name} {100 * value:.1f} ({100 * (value - low) / (high - low):.0f} %)"
                for name, value in values.items()
                if name not in ("chance", "ceiling")
            ]
            print(f"  {d}: chance {100 * low:.1f}  {'  '.join(texts)}  ceiling {100 * high:.1f}")


def main() -> int:
    """Build the twin with the calibration seed in a temporary folder, and say how hard it is."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset")
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--seed", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    card = load_dataset(
        options.dataset, overrides=[f"source.seed={options.seed}", *options.overrides]
    )
    with tempfile.TemporaryDirectory() as folder:
        path = build_cache(card, Path(folder) / "twin.h5", quiet=True)
        result = calibration(open_cache(path))
    print(json.dumps(result)) if options.json else show(result)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
