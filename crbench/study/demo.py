"""``crbench demo``: from nothing to a measured board on a small synthetic twin.

Leaves ``<out>/ben-14k-twin.h5`` and one run folder a method, each with its record; a demo that
was interrupted goes on where it stopped.
"""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from crbench.cards import load_dataset
from crbench.data.cache.build import build_cache
from crbench.data.cache.reading import open_cache
from crbench.errors import UserError
from crbench.evaluation.evaluate import evaluate
from crbench.run.folder import RunFolder
from crbench.training.loop import train

DATASET = "ben-14k-twin"
METHODS = ("cr-jepa", "x-jepa", "rejepa")
FLOORS = ("random", "band-stats", "cca")


def demo(
    out: str | Path = "runs/demo",
    *,
    seed: int = 0,
    pairs: int | None = None,
    epochs: int | None = None,
    quiet: bool = False,
) -> Path:
    """Build the twin, train the three methods and the floors at ``tiny``, evaluate, return ``out``.

    ``pairs`` scales the twin to that many pairs in all; ``epochs`` replaces every method's own.
    """
    folder = Path(out)
    console = Console(stderr=True, quiet=quiet)
    cache = folder / f"{DATASET}.h5"
    console.print(f"[bold]1/3[/] synthetic twin of BEN-14K → {cache}", highlight=False)
    card = load_dataset(DATASET, overrides=_fewer(pairs))
    if not cache.is_file():
        build_cache(card, cache, quiet=quiet)
    elif open_cache(cache).card.content != card.content:
        raise UserError(
            "this demo was made with other settings", where=folder, fix="choose another --out"
        )
    console.print("[bold]2/3[/] training, scale tiny, on this machine", highlight=False)
    for name in (*METHODS, *FLOORS):
        train(
            name,
            DATASET,
            scale="tiny",
            epochs=epochs if name in METHODS else None,
            seed=seed,
            out=folder / name,
            cache=cache,
            resume=RunFolder(folder / name).exists(),
            quiet=quiet,
        )
    console.print("[bold]3/3[/] retrieval in four directions", highlight=False)
    for name in (*METHODS, *FLOORS):
        if not RunFolder(folder / name).record.is_file():
            evaluate(folder / name, quiet=quiet)
    return folder


def _fewer(pairs: int | None) -> list[str]:
    """Overrides that scale every split of the twin, so that ``pairs`` remain in all."""
    if pairs is None:
        return []
    splits = load_dataset(DATASET).source["splits"]
    total = sum(splits.values())
    return [f"source.splits.{name}={max(8, n * pairs // total)}" for name, n in splits.items()]
