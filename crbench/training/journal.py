"""What is told of a run while it trains: its log, its best weights, collapse, broken losses.

Nothing here changes a weight: with and without it a run comes to the same bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from crbench.data.pairs import Pairs, epoch_order
from crbench.errors import Collapsed, UserError
from crbench.files import append_jsonl, write_json, write_text
from crbench.models.base import Method, Step
from crbench.run.devices import Ranks
from crbench.run.folder import RunFolder, RunInfo
from crbench.run.opened import save_weights, weights_statement
from crbench.training.trackers import Trackers
from crbench.training.validation import Validation


class Journal:
    """What the loop tells of its steps and epochs, and what comes of it."""

    def __init__(
        self,
        run: RunFolder,
        info: RunInfo,
        pairs: Pairs,
        size: int,
        validation: Validation | None,
        say: Callable[[str], None],
        ranks: Ranks,
    ) -> None:
        """``size`` pairs a step over all ranks; rank 0 alone scores, writes and speaks."""
        self.run, self.info, self.pairs, self.size, self.say = run, info, pairs, size, say
        self.ranks, self.validation, self.options = ranks, validation, info.options
        self.best: dict[str, Any] = {}
        self.collapsed: str | None = None
        self.names: list[str] = []
        self.bad: Tensor | None = None  # index of the first step with a broken term, else -1
        self.terms: Tensor | None = None  # the terms of that step
        self.saved: int | None = None
        self.trackers = Trackers(self.options.track if ranks.first else (), run, info, say)

    def begin(self, step: int, best: dict[str, Any], epochs_done: int) -> None:
        """Start after ``step`` steps: the log keeps its first ``epochs_done`` lines."""
        self.best, self.saved = best, step or None
        if not self.ranks.first:
            return
        if not self.best:
            self._best_weights.unlink(missing_ok=True)
        _keep_lines(self.run, epochs_done)
        self.trackers.start(epochs_done)

    @property
    def ending(self) -> bool:
        """Whether training is to save and end here, as after a collapse."""
        return self.collapsed is not None and self.options.stop_on_collapse

    def step(self, terms: Mapping[str, Tensor], step: Step) -> None:
        """Remember the first step with a broken term, without waiting for the device."""
        values = torch.stack([value.detach().float() for value in terms.values()])
        if self.bad is None or self.terms is None:
            self.names = list(terms)
            self.bad = torch.full((), -1, dtype=torch.int64, device=values.device)
            self.terms = torch.zeros_like(values)
        first = (self.bad < 0) & ~torch.isfinite(values).all()
        self.bad = torch.where(first, step.index, self.bad)
        self.terms = torch.where(first, values, self.terms)

    def check(self, sums: Mapping[str, float], per_epoch: int) -> None:
        """End the run where a loss was not finite, with the batch and its terms on disk."""
        if all(math.isfinite(value) for value in sums.values()):
            return
        assert self.bad is not None and self.terms is not None
        index = max(int(self.bad), 0)
        epoch, at = divmod(index, per_epoch)
        order = epoch_order(len(self.pairs), self.info.seed, epoch)
        order = order[at * self.size : (at + 1) * self.size]
        terms = dict(zip(self.names, self.terms.tolist(), strict=True))
        bad = sorted(name for name, value in terms.items() if not math.isfinite(value))
        path = self.run.path / "nonfinite.json"
        kept = self.run.checkpoint if self.saved else None
        report = {
            "epoch": epoch + 1,
            "step": index + 1,
            "not_finite": bad,
            "terms": {n: v if math.isfinite(v) else str(v) for n, v in terms.items()},
            "ids": self.pairs.ids[order].tolist(),
            "checkpoint": kept and kept.name,
            "checkpoint_step": self.saved,
        }
        if self.ranks.first:
            write_json(path, report)
        last = f"checkpoint.pt holds step {self.saved}" if self.saved else "no checkpoint was made"
        raise UserError(
            f"the loss is not finite at step {index + 1} (epoch {epoch + 1}): {', '.join(bad)}; "
            f"the batch and its terms are in {path.name}, {last}",
            where=self.run.path,
            fix="start a new run (another --out) with a lower train.lr or train.clip by --set",
        )

    def epoch(
        self,
        model: Method,
        step: Step,
        terms: Mapping[str, float],
        lr: float,
        per_epoch: int,
        seconds: float,
    ) -> None:
        """Write the line of the epoch that ends with ``step`` and took ``seconds``, with validation
        scores where they are due."""
        self.check(terms, per_epoch)
        line = {
            "epoch": step.epoch + 1,
            "step": step.index + 1,
            "lr": lr,
            **terms,
            "pairs_per_s": round(per_epoch * self.size / max(seconds, 1e-9), 1),
            "seconds": round(seconds, 3),
        }
        self.best, self.collapsed = self.ranks.from_first(lambda: self._log(model, line))

    def _log(self, model: Method, line: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
        epoch, last = line["epoch"], self.info.method_card.train.epochs
        if self.validation and (epoch % self.options.eval_every == 0 or epoch == last):
            line["val"] = self._validate(self.validation, model, epoch, line["step"])
        append_jsonl(self.run.metrics, line)
        self.trackers.log(line)
        return self.best, self.collapsed

    def _validate(
        self, validation: Validation, model: Method, epoch: int, step: int
    ) -> dict[str, Any]:
        result = validation.score()
        self.collapsed = result["collapsed"]
        if self.collapsed:
            self.say(f"epoch {epoch}: the embeddings have collapsed: {self.collapsed}")
        elif result["narrow"]:
            self.say(f"epoch {epoch}: near collapse: {result['narrow']}")
        name = self.options.keep_best
        value = result["scores"][name]["mean"] if name else None
        if value is not None and (not self.best or value > self.best["value"]):
            self.best = {"metric": name, "value": value, "epoch": epoch, "step": step}
            about = {**weights_statement(self.info), "best": self.best}
            save_weights(self._best_weights, model, about)
        return result

    @property
    def _best_weights(self) -> Path:
        return RunFolder(self.run.path, "best").weights

    def kept(self, step: int) -> None:
        """A checkpoint of ``step`` steps was written; a run that collapsed ends here if asked."""
        self.saved = step
        if self.ending:
            raise Collapsed(
                f"stopped at step {step}: the embeddings have collapsed: {self.collapsed}",
                where=self.run.path,
                fix="change the losses or the learning rate in a new run; or go on nevertheless "
                "with --resume and without --stop-on-collapse",
            )

    def close(self) -> None:
        """End the trackers."""
        self.trackers.close()


def _keep_lines(run: RunFolder, epochs: int) -> None:
    """Drop the lines of epochs that a resumed run will do again."""
    if run.metrics.is_file():
        kept = [line for line in run.metrics.read_text().splitlines() if line.endswith("}")]
        write_text(run.metrics, "".join(line + "\n" for line in kept[:epochs]))
