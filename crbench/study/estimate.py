"""How long a run takes on this machine, from training a few of its steps."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from crbench.cards import MethodCard
from crbench.data.cache.reading import Cache
from crbench.data.pairs import Pairs, epoch_order
from crbench.models.base import Step
from crbench.models.registry import build_method, method_class
from crbench.run.devices import full_precision, pick_device, precision_of
from crbench.run.opened import band_counts
from crbench.study.cards import Job
from crbench.study.shelf import Shelf
from crbench.training.step import Stepper

_PROBE_PAIRS = 8  # a first step this small shows whether whole batches can be afforded
_BUDGET_S = 5.0  # per card; an epoch that is shorter is run whole


def _measure_epoch(card: MethodCard, data: Cache, device: str, threads: int) -> tuple[float, str]:
    """Seconds of an epoch of ``card``, and what the figure rests on: up to an epoch is trained, at
    most some seconds of it, and its weights are thrown away."""
    torch.set_num_threads(threads)
    chosen = pick_device(device)
    full_precision()
    model = build_method(card, band_counts(data.card)).to(chosen).train()
    pairs = Pairs(data, data.card.train_splits, image_size=model.image_size, device=str(chosen))
    n, size = len(pairs), min(card.train.batch_size, len(pairs))
    take = Stepper(model, card.train, precision_of(card, chosen), max(1, n // size))
    order = epoch_order(n, 0, 0)

    def step(index: int, start: int, count: int) -> float:
        began = time.perf_counter()
        at = Step(index, 0, max(1, card.train.epochs * (n // size)), 0)
        rows = order[start : start + count]
        float(take(pairs.batch(rows), at)["loss"])  # waits for the device
        return time.perf_counter() - began

    step(0, 0, min(_PROBE_PAIRS, n))  # allocations, thread pools
    probe = step(1, 0, min(_PROBE_PAIRS, n))
    spent, done = probe, _PROBE_PAIRS
    if probe * size / _PROBE_PAIRS <= _BUDGET_S:
        spent, done = 0.0, 0
        while done + size <= n and spent < _BUDGET_S:
            spent += step(2 + done // size, done, size)
            done += size
    whole = n // size * size  # the last, smaller batch of an epoch is left out
    basis = "one epoch measured" if done == whole else f"measured on {done:,} of {n:,} pairs"
    return spent * whole / done, basis


@dataclass(frozen=True)
class Planned:
    """A row of a plan: what is there, what is missing and the seconds that it will take."""

    row: str
    label: str
    epochs: int
    there: int
    to_run: int
    epoch_s: float | None
    seconds_each: float
    source: str


def plan_runs(
    jobs: Sequence[Job], shelf: Shelf, data: Cache | None, *, device: str, threads: int
) -> list[Planned]:
    """One line per distinct card. Time is that of steps run now for what is missing, since a record
    may be another machine's, and that of its records for what is there.

    Without a cache (``data`` None) nothing is run, and what has no record has no time.
    """
    lines = []
    for card_digest in dict.fromkeys(job.card.digest for job in jobs):
        same_card = [job for job in jobs if job.card.digest == card_digest]
        card, there = same_card[0].card, [r for job in same_card if (r := shelf.get(job))]
        epochs, missing = card.train.epochs, len(same_card) - len(there)
        trained = method_class(card).trained_by == "gradient" and epochs > 0
        epoch_s: float | None = None
        each, source = 0.0, "not trained by epochs"
        if trained and missing and data is not None:
            epoch_s, source = _measure_epoch(card, data, device, threads)
            each = epochs * epoch_s
        elif there:
            each = sum(sum(r.timings.values()) for r in there) / len(there)
            epoch_s = there[0].timings["train_s"] / epochs if trained else None
            source = f"its record of {there[0].created[:10]}"
        elif trained:
            source = "no cache here to measure with"
        first, done = same_card[0], len(there)
        lines.append(Planned(first.row, first.label, epochs, done, missing, epoch_s, each, source))
    return lines
