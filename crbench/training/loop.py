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
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crbench import machine, progress
from crbench.data.pairs import Pairs, epoch_batches
from crbench.errors import UserError
from crbench.files import held
from crbench.models.base import Method, Step
from crbench.models.registry import build_method
from crbench.run.devices import (
    Ranks,
    full_precision,
    peak_memory,
    pick_device,
    precision_of,
    threads_here,
)
from crbench.run.folder import RunFolder, RunInfo
from crbench.run.opened import band_counts, open_dataset, save_weights, weights_statement
from crbench.seeds import derive
from crbench.training.checkpoint import load_latest, save_state, tidy
from crbench.training.journal import Journal
from crbench.training.settings import TrainSettings, begin, statement
from crbench.training.shares import measured_steps
from crbench.training.step import Stepper, batch_size
from crbench.training.stopping import stop_on_signal
from crbench.training.validation import Validation, check_options

_KEPT = "the last checkpoint stands: --resume"
CHECKPOINT_EVERY_S = 30.0  # a kill loses at most this much, and the last step of training nothing


def train_run(settings: TrainSettings, ranks: Ranks | None = None) -> Path:
    """Train as ``settings`` say and return the run's folder.

    ``ranks``, several processes that train one model, need one file system for the run's folder;
    rank 0 alone writes.
    """
    ranks = ranks or Ranks()
    quiet = settings.quiet or not ranks.first
    card = settings.card()
    data = open_dataset(settings.dataset, settings.cache, settings.bands)
    run = settings.folder(card, data)
    torch.set_num_threads(settings.threads or threads_here() or machine.cores())
    device = pick_device(settings.device, ranks)
    torch.manual_seed(derive(settings.seed, "init", card.name, data.card.name))
    # before anything is written: a card that cannot be built leaves no folder behind
    model = build_method(card, band_counts(data.card))
    splits = data.card.train_splits
    if len(data.rows(splits)) < 2:
        raise UserError(f"too few training pairs in {splits}", where=data.path)
    optimised = model.trained_by == "gradient" and card.train.epochs > 0
    if optimised:
        batch_size(card.train, len(data.rows(splits)), ranks)
        check_options(settings.options, data, model)
    elif ranks.size > 1:
        raise UserError("nothing to share here", where=card.name, fix="start without torchrun")
    precision = precision_of(card, device) if optimised else "fp32"
    new = statement(settings, card, data, device, precision, ranks)
    info = ranks.from_first(lambda: begin(run, new, resume=settings.resume, quiet=quiet))
    if info.finished:
        tidy(run.path, finished=True)
        return run.path
    model = model.to(device)
    pairs = Pairs(
        data, splits, image_size=model.image_size, device=device, loading=settings.loading
    )
    if not quiet:
        print(f"{card.title}: {pairs.figure}", file=sys.stderr)
    with (
        held(run.path) if ranks.first else contextlib.nullcontext(),
        ranks.named("training", _KEPT),
    ):
        if ranks.from_first(run.read).finished:  # by another process, while this one was looking
            return run.path
        full_precision()
        if ranks.first:
            tidy(run.path, finished=False)
        if optimised:
            scores = info.options.eval_every and ranks.first
            validation = Validation(data, info, model, device) if scores else None
            info = Loop(run, info, model, pairs, validation, ranks).go(settings.resume, quiet)
        elif model.trained_by == "fit":
            started = time.perf_counter()
            val = None
            if len(data.rows(["val"])) and "val" not in splits:
                val = Pairs(data, ["val"], image_size=model.image_size, device=device)
            chosen = model.fit(pairs, val)
            seconds = time.perf_counter() - started
            info = info.model_copy(update={"seconds": seconds, "final_terms": chosen or {}})
        if ranks.first:
            save_weights(run.weights, model, weights_statement(info))
            memory = peak_memory("train", device)
            update = {"finished": True, "memory": memory, "digests": run.digests()}
            run.write(info.model_copy(update=update))
            tidy(run.path, finished=True)
        ranks.wait("writing the weights")
    return run.path


@dataclass
class Position:
    """Where training stands: what a checkpoint holds beside the model and its optimiser.

    ``seconds`` of training so far, without scoring; ``epoch_seconds`` and ``sums`` of the loss
    terms since the epoch began; ``terms``, their means over the last whole epoch; ``best``, what
    the best weights scored; ``shares`` of the gradient by term, before the steps that name them.
    """

    step: int = 0
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    sums: dict[str, Any] = field(default_factory=dict)  # tensors on the device; numbers when saved
    terms: dict[str, float] = field(default_factory=dict)
    best: dict[str, Any] = field(default_factory=dict)
    shares: dict[str, dict[str, float]] = field(default_factory=dict)


class Loop:
    """The optimisation of one run: everything that changes while it goes on."""

    def __init__(
        self,
        run: RunFolder,
        info: RunInfo,
        model: Method,
        pairs: Pairs,
        validation: Validation | None,
        ranks: Ranks,
    ) -> None:
        self.run, self.info, self.model, self.pairs, self.ranks = run, info, model, pairs, ranks
        self.validation = validation
        self.card = info.method_card.train
        self.size = batch_size(self.card, len(pairs), ranks)
        self.per_epoch = len(pairs) // self.size  # the last, smaller batch is left out
        self.total = self.card.epochs * self.per_epoch
        self.stepper = Stepper(model, self.card, info.precision, self.per_epoch, ranks)
        self.looks = measured_steps(self.total)
        self.at = Position()
        self.clock = time.perf_counter()  # when the seconds of the position were last counted
        self.saved = self.clock
        self.begun = (0, self.clock)  # the first step of this process, and when
        self.latest: Mapping[str, Tensor] = {}  # terms of the last step

    def go(self, resume: bool, quiet: bool) -> RunInfo:
        """Optimise for the card's epochs, logging a line an epoch and saving as time passes."""
        if resume:
            self._restore()
        label = f"{self.info.method_card.title} seed {self.info.seed}"
        with (
            stop_on_signal(patient=self.ranks.signalled_twice) as stop,
            progress.bar(label, self.total, "steps", quiet=quiet, transient=False) as bar,
            contextlib.closing(self._journal(bar)) as journal,
            contextlib.closing(self._steps()) as steps,
        ):
            self.model.train()
            journal.begin(self.at.step, self.at.best, self.at.step // self.per_epoch)
            self.clock = self.saved = time.perf_counter()
            bar.advance(self.at.step)
            bar.note, self.begun = self._note, (self.at.step, self.clock)
            for step, batch in steps:
                if step.index in self.looks:
                    self.at.shares[str(step.index)] = self.stepper.shares(batch, step)
                terms = self.stepper(batch, step)
                self._count(terms)
                journal.step(terms, step)
                self.latest = terms
                bar.advance()
                if self.at.step % self.per_epoch == 0:
                    self._end_epoch(journal, step)
                stop.requested = self.ranks.any(stop.requested)  # all at the same step, or none
                overdue = time.perf_counter() - self.saved > CHECKPOINT_EVERY_S
                if stop.requested or journal.ending or overdue:
                    self._save(journal)
                    if stop.requested:
                        done = f"stopped at step {self.at.step} of {self.total}"
                        bar.say(f"{done}; go on with --resume: {self.run.path}")
                        raise KeyboardInterrupt(f"saved at step {self.at.step}")
        self._tick()
        update = {
            "seconds": self.at.seconds,
            "steps": self.total,
            "epochs_done": self.card.epochs,
            "final_terms": self.at.terms,
            "best": self.at.best,
            "gradient_shares": self.at.shares,
        }
        return self.info.model_copy(update=update)

    def _note(self) -> str:
        """What the bar says: pairs per second and the terms of the last step."""
        steps, seconds = self.at.step - self.begun[0], time.perf_counter() - self.begun[1]
        terms = "  ".join(f"{name} {float(value):.3f}" for name, value in self.latest.items())
        return f"{self.size * steps / max(seconds, 1e-9):,.0f} pairs/s  {terms}"

    def _journal(self, bar: progress.Bar) -> Journal:
        return Journal(
            self.run, self.info, self.pairs, self.size, self.validation, bar.say, self.ranks
        )

    def _steps(self) -> Generator[tuple[Step, dict[str, Tensor]], None, None]:
        """Every step that is left, with this rank's share of its batch."""
        first, skip = divmod(self.at.step, self.per_epoch)
        share = {"rank": self.ranks.rank, "world": self.ranks.size}
        for epoch in range(first, self.card.epochs):
            blocks = epoch_batches(
                len(self.pairs), self.info.seed, epoch, self.size, start=skip, **share
            )
            for index, batch in enumerate(self.pairs.batches(blocks), skip):
                yield Step(epoch * self.per_epoch + index, epoch, self.total, self.info.seed), batch
            skip = 0

    def _count(self, terms: Mapping[str, Tensor]) -> None:
        """Add the terms of a step to those of its epoch."""
        sums = self.at.sums
        for name, value in terms.items():
            sums[name] = sums[name] + value if name in sums else value
        self.at.step += 1

    def _tick(self) -> None:
        """Count the time since the last look as training."""
        now = time.perf_counter()
        self.at.seconds += now - self.clock
        self.at.epoch_seconds += now - self.clock
        self.clock = now

    def _end_epoch(self, journal: Journal, step: Step) -> None:
        """Log the epoch that ends with ``step``; its line goes before its checkpoint."""
        # reading the terms waits for the device, so the time comes after
        self.at.terms = {n: float(value) / self.per_epoch for n, value in self.at.sums.items()}
        self._tick()
        lr = max(group["lr"] for group in self.stepper.optimizer.param_groups)
        journal.epoch(self.model, step, self.at.terms, lr, self.per_epoch, self.at.epoch_seconds)
        self.clock = time.perf_counter()  # scoring is no training
        self.at.best, self.at.sums, self.at.epoch_seconds = journal.best, {}, 0.0

    def _save(self, journal: Journal) -> None:
        self._tick()
        sums = {name: float(value) for name, value in self.at.sums.items()}
        journal.check(sums, self.per_epoch)
        if self.ranks.first:
            position, keep = {**vars(self.at), "sums": sums}, self.info.options.keep_last
            save_state(self.run.checkpoint, self.model, self.stepper.optimizer, position, keep)
        self.saved = time.perf_counter()
        journal.kept(self.at.step)

    def _restore(self) -> None:
        """Go on from the newest sound checkpoint, where there is one."""

        def say(text: str) -> None:
            if self.ranks.first:
                print(text, file=sys.stderr)

        stored = load_latest(self.run.checkpoint, self.model, self.stepper.optimizer, say)
        if stored:
            sums = {name: torch.tensor(value) for name, value in stored.get("sums", {}).items()}
            self.at = Position(**{**stored, "sums": sums})
