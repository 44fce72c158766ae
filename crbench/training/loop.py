"""``crbench train``: one loop for every method; it knows no method's name.

Everything random is drawn from names — (seed, epoch) for the order, (seed, epoch, pair) for
masks and flips, (seed, step) for SIGReg's directions — so that a run that was stopped and goes
on is the same run. On a CPU the same card, seed, machine and thread count give the same weights;
on a GPU attention's backward pass adds in no fixed order, and weights agree to rounding only.
"""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from crbench import machine as provenance
from crbench.cards import MethodCard, load_method
from crbench.data.cache.reading import Cache
from crbench.data.pairs import Pairs, epoch_batches
from crbench.errors import UserError
from crbench.files import held
from crbench.models.base import Method, Step
from crbench.models.registry import build_method
from crbench.run.devices import device_name, full_precision, pick_device, precision_of
from crbench.run.folder import Options, RunFolder, RunInfo, default_run, differing
from crbench.run.memory import peak_memory
from crbench.run.opened import about_weights, band_counts, open_dataset, statistics
from crbench.run.progress import Bar, Stop, stop_on_signal, training_bar
from crbench.run.ranks import Ranks, threads_here
from crbench.run.weights import load_latest, save_state, save_weights, tidy
from crbench.seeds import derive
from crbench.training.journal import Watch, check_options
from crbench.training.step import Stepper, batch_size

KEPT = "the last checkpoint stands: --resume"
CHECKPOINT_EVERY_S = 30.0  # a kill loses at most this much, and the last step of training nothing


def train(
    method: str,
    dataset: str,
    *,
    scale: str | None = None,
    overrides: Iterable[str] = (),
    epochs: int | None = None,
    seed: int = 0,
    device: str = "auto",
    out: str | Path | None = None,
    cache: str | Path | None = None,
    resume: bool = False,
    quiet: bool = False,
    threads: int | None = None,
    bands: Iterable[str] = (),
    loading: str = "auto",
    ranks: Ranks | None = None,
    options: Options | None = None,
) -> Path:
    """Train ``method`` on ``dataset`` and return the run's folder.

    ``method`` and ``dataset`` are card names or paths; ``overrides`` are ``key=value`` of the
    method card. A run that exists is never overwritten: ``resume`` goes on with it. ``bands``
    (``"a=VH,VV"``) choose and order what the model sees; ``loading`` (auto, memory, stream) says
    where the pixels live, ``options`` what is scored, kept and tracked on the way; neither changes
    a bit of the weights. ``ranks``, several processes that train one model, need one file system
    for the run's folder; rank 0 alone writes.
    """
    ranks = ranks or Ranks()
    quiet = quiet or not ranks.first
    card = load_method(method, scale=scale, overrides=overrides)
    if epochs is not None:
        if epochs < 0:
            raise UserError(f"epochs must be 0 or more, not {epochs}", where="--epochs")
        card = card.model_copy(update={"train": card.train.model_copy(update={"epochs": epochs})})
    if not 0 <= seed < 2**63:
        raise UserError(f"seed must be 0 or more, not {seed}", where="--seed")
    if threads is not None and threads < 1:
        raise UserError(f"threads must be 1 or more, not {threads}", where="--threads")
    data = open_dataset(dataset, cache, bands)
    run = RunFolder(Path(out) if out else default_run(data.card.name, card.name, card.scale, seed))
    torch.set_num_threads(threads or threads_here() or provenance.cores())
    chosen = pick_device(device, ranks)
    torch.manual_seed(derive(seed, "init", card.name, data.card.name))
    model = build_method(
        card, band_counts(data)
    )  # a card that cannot be built leaves no folder behind
    splits = data.card.train_splits
    if len(data.rows(splits)) < 2:
        raise UserError(f"too few training pairs in {splits}", where=data.path)
    optimised = model.trained_by == "gradient" and card.train.epochs > 0
    precision = precision_of(card, chosen) if optimised else "fp32"
    if optimised:
        batch_size(card.train, len(data.rows(splits)), ranks)
    elif ranks.size > 1:
        raise UserError("nothing to share here", where=card.name, fix="start without torchrun")
    asked = options or Options()
    if optimised:
        check_options(asked, data, model)
    info = ranks.told(
        lambda: _begin(run, card, data, seed, chosen, precision, ranks, asked, resume, quiet)
    )
    if info.finished:
        tidy(run.path, finished=True)
        return run.path
    model = model.to(chosen)
    size = model.image_size
    pairs = Pairs(data, splits, image_size=size, device=str(chosen), loading=loading)
    if not quiet:
        print(pairs.figure, file=sys.stderr)
    with held(run.path) if ranks.first else contextlib.nullcontext(), ranks.named("training", KEPT):
        if not ranks.told(run.read).finished:  # by another process, while this one was looking
            _train(model, pairs, data, run, info, ranks, resume, quiet)
    return run.path


def _train(
    model: Method,
    pairs: Pairs,
    data: Cache,
    run: RunFolder,
    info: RunInfo,
    ranks: Ranks,
    resume: bool,
    quiet: bool,
) -> None:
    """Fit or optimise, and leave the weights."""
    full_precision()
    started = time.perf_counter()
    if ranks.first:
        tidy(run.path, finished=False)
    if model.trained_by == "fit":
        model.fit(pairs)
        info = info.model_copy(update={"seconds": time.perf_counter() - started})
    elif model.trained_by == "gradient" and info.method_card.train.epochs:
        info = _loop(model, pairs, data, run, info, ranks, resume, quiet)
    if ranks.first:
        save_weights(run.weights, model, about_weights(info))
        peak = peak_memory("train", pairs.device)
        update = {"finished": True, "memory": peak, "digests": run.digests()}
        run.write(info.model_copy(update=update))
        tidy(run.path, finished=True)
    ranks.wait("writing the weights")


def _begin(
    run: RunFolder,
    card: MethodCard,
    data: Cache,
    seed: int,
    device: torch.device,
    precision: str,
    ranks: Ranks,
    options: Options,
    resume: bool,
    quiet: bool,
) -> RunInfo:
    """Write the statement of a new run, or check that an old one is the same run."""
    info = RunInfo(
        method=card.to_dict(),
        dataset=data.card.to_dict(),
        cache=str(data.path),
        cache_digest=data.digest,
        seed=seed,
        device=device_name(device),
        threads=torch.get_num_threads(),
        precision=precision,
        ranks=ranks.size,
        n_train=len(data.rows(data.card.train_splits)),
        statistics=statistics(data),
        versions=provenance.versions(),
        hardware=provenance.hardware(),
        command=provenance.command(),
        created=provenance.now_utc(),
        options=options,
    )
    if not run.exists():
        if resume and not quiet:
            print(f"nothing to go on with at {run.path}: starting anew", file=sys.stderr)
        if run.path.exists() and (not run.path.is_dir() or any(run.path.iterdir())):
            raise UserError(
                "the output folder is not empty and is not a run",
                where=run.path,
                fix="choose another --out",
            )
        run.write(info)
        return info
    before = run.read()
    if not resume:
        raise UserError(
            "a run exists here" + (" and has finished" if before.finished else ""),
            where=run.path,
            fix="go on with --resume, or choose another --out or --seed",
        )
    settled = (
        "method",
        "cache_digest",
        "statistics",
        "seed",
        "precision",
        "threads",
        "device",
        "ranks",
    )
    for key in settled:
        was, now = getattr(before, key), getattr(info, key)
        if was != now:
            told = "; ".join(differing(was, now)[:3]) if key == "method" else f"{was}, not {now}"
            told = "" if key == "statistics" else f" ({told})"
            raise UserError(
                f"cannot go on: the run was started with another {key.replace('_', ' ')}{told}",
                where=run.path,
                fix="use the settings of its run.json, or choose another --out",
            )
    if any(before.dataset_card.modality(m).used != data.card.modality(m).used for m in "ab"):
        raise UserError(
            "cannot go on: the run was started with other bands",
            where=run.path,
            fix="give the --bands of its run.json, or choose another --out",
        )
    return before if before.finished else before.model_copy(update={"options": options})


def _loop(
    model: Method,
    pairs: Pairs,
    data: Cache,
    run: RunFolder,
    info: RunInfo,
    ranks: Ranks,
    resume: bool,
    quiet: bool,
) -> RunInfo:
    """Optimise for the card's epochs, logging a line an epoch and saving as time passes."""
    card = info.method_card.train
    size = batch_size(card, len(pairs), ranks)
    per_epoch = len(pairs) // size  # the last, smaller batch is left out
    total = card.epochs * per_epoch
    take = Stepper(model, card, info.precision, per_epoch, ranks)
    optimizer, share = take.optimizer, {"rank": ranks.rank, "world": ranks.size}
    position: dict[str, Any] = {"step": 0, "seconds": 0.0, "epoch_seconds": 0.0}
    position |= {"sums": {}, "terms": {}}
    if resume:
        tell = partial(print, file=sys.stderr) if ranks.first else lambda _: None
        position = load_latest(run.checkpoint, model, optimizer, tell) or position
    first_epoch, skip = divmod(int(position["step"]), per_epoch)
    sums = {name: torch.tensor(value) for name, value in position["sums"].items()}

    model.train()
    spent, mark = float(position["seconds"]), time.perf_counter()
    saved, epoch_spent = mark, float(position["epoch_seconds"])
    terms: dict[str, float] = dict(position["terms"])
    about = about_weights(info)
    with (
        stop_on_signal(patient=ranks.told_twice) as stop,
        training_bar(info, total, quiet) as bar,
        contextlib.closing(
            Watch(run, info, pairs, size, data, model, about, bar.say, ranks)
        ) as watch,
    ):
        bar.start(int(position["step"]))
        watch.begin(position, first_epoch)
        for epoch in range(first_epoch, card.epochs):
            blocks = epoch_batches(len(pairs), info.seed, epoch, size, start=skip, **share)
            epoch_mark = time.perf_counter()
            for index, batch in enumerate(pairs.batches(blocks), skip):
                step = Step(epoch * per_epoch + index, epoch, total, info.seed)
                found = take(batch, step)
                for name, value in found.items():
                    sums[name] = sums[name] + value if name in sums else value
                watch.step(found, step)
                bar.step(found, size)
                last = index + 1 == per_epoch
                if last:  # reading the terms waits for the device, so the time comes after
                    terms = {name: float(value) / per_epoch for name, value in sums.items()}
                now = time.perf_counter()
                seconds = epoch_spent + now - epoch_mark
                if last:  # the epoch's line goes before its checkpoint
                    lr = max(group["lr"] for group in optimizer.param_groups)
                    took = watch.epoch(model, step, terms, lr, per_epoch, seconds)
                    mark, now = mark + took, now + took  # scoring is no training
                    sums, skip, epoch_spent, seconds = {}, 0, 0.0, 0.0
                stop.asked = ranks.any(stop.asked)  # all stop at the same step, or none
                if stop.asked or watch.ending or now - saved > CHECKPOINT_EVERY_S:
                    position = {
                        "step": step.index + 1,
                        "seconds": spent + now - mark,
                        "epoch_seconds": seconds,
                        "sums": {name: float(value) for name, value in sums.items()},
                        "terms": terms,
                        "best": watch.best,
                    }
                    watch.check(position["sums"], per_epoch)
                    if ranks.first:
                        keep = info.options.keep_last
                        save_state(run.checkpoint, model, optimizer, position, keep)
                    saved = now
                    watch.kept(step.index + 1)
                    _stop_if_asked(stop, run, step, bar)
    seconds = spent + time.perf_counter() - mark
    update = {"seconds": seconds, "steps": total, "epochs_done": card.epochs, "final_terms": terms}
    update["best"] = watch.best
    return info.model_copy(update=update)


def _stop_if_asked(stop: Stop, run: RunFolder, step: Step, bar: Bar) -> None:
    if stop.asked:
        done = replace(step, index=step.index + 1)
        bar.say(f"stopped at step {done.index} of {done.total}; go on with --resume: {run.path}")
        raise KeyboardInterrupt(f"saved at step {done.index}")
