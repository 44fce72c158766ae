"""What is looked at while a run trains: its log, validation scores, collapse, broken losses.

Nothing here changes a weight: with and without it a run comes to the same bytes.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crbench.data.cache.reading import Cache
from crbench.data.pairs import Pairs, epoch_order
from crbench.embedding.embedder import embed_pairs, serving
from crbench.errors import Collapsed, UserError, unknown
from crbench.files import append_jsonl, read_jsonl, write_json, write_text
from crbench.models.base import Method, Step
from crbench.run.folder import Options, RunFolder, RunInfo
from crbench.run.ranks import Ranks
from crbench.run.weights import save_weights
from crbench.scoring import Items, health
from crbench.scoring.metrics import means, metric_names
from crbench.scoring.score import per_query
from crbench.training.trackers import Trackers, check_trackers
from crbench.words import KS, MODALITIES

SPLIT = "val"  # never scored by a record of the default protocol's queries as "test" is


def check_options(options: Options, data: Cache, model: Method) -> None:
    """Refuse options that cannot be followed, before anything is written."""
    check_trackers(options.track)
    needs = {"--keep-best": options.keep_best, "--stop-on-collapse": options.stop_on_collapse}
    for name, value in needs.items():
        if value and not options.eval_every:
            raise UserError(f"{name} needs validation scores", where=name, fix="add --eval-every N")
    if not options.eval_every:
        return
    if len(data.rows([SPLIT])) < 2:
        raise UserError("too few validation pairs", where=data.path, fix="leave out --eval-every")
    known = metrics_of(data, model)
    if options.keep_best is not None and options.keep_best not in known:
        raise unknown("metric", options.keep_best, known, where="--keep-best")


def metrics_of(data: Cache, model: Method) -> list[str]:
    """Names of the metrics that every direction of ``model`` has on ``data``."""
    kind = data.card.labels.kind
    found = [metric_names(direction, kind, KS) for direction in model.directions]
    return [name for name in found[0] if all(name in names for names in found)]


class Validation:
    """The validation split, scored leave-one-out: every pair is query and gallery item."""

    def __init__(self, data: Cache, info: RunInfo, model: Method, device: torch.device) -> None:
        self.pairs = Pairs(data, [SPLIT], image_size=model.image_size, device=device)
        rows = self.pairs.rows
        labels = None if data.labels is None else data.labels[rows]
        self.items = Items(ids=data.ids[rows], labels=labels)
        self.kind, self.classes = data.card.labels.kind, len(data.card.labels.classes)
        wanted = [*data.card.headline, info.options.keep_best]
        self.metrics = [name for name in metrics_of(data, model) if name in wanted]
        self.size, self.threads = info.method_card.train.eval_batch_size, info.threads

    def score(self, model: Method) -> dict[str, Any]:
        """``scores`` {metric: {direction or "mean": value}}, ``health`` and ``collapsed``.

        The model is left as it was: its modes are set back, and no random number is drawn.
        """
        modes = [(module, module.training) for module in model.modules()]
        devices = [self.pairs.device] if self.pairs.device.type == "cuda" else []
        model.eval()
        with torch.random.fork_rng(devices):
            views: dict[str, dict[str, np.ndarray]] = {
                modality: embed_pairs(model, self.pairs, modality, self.size, "", True)
                for modality in MODALITIES
                if any(modality in direction for direction in model.directions)
            }
        for module, training in modes:
            module.training = training
        arrays: dict[str, tuple[np.ndarray, np.ndarray]] = {
            d: (views["ab"[d[0] == "b"]][used.query], views["ab"[d[1] == "b"]][used.gallery])
            for d, used in serving(model).items()
        }
        measured = per_query(
            arrays,
            self.items,
            self.items,
            label_kind=self.kind,
            n_classes=self.classes,
            threads=self.threads,
        )
        values = {direction: means(part.values, KS) for direction, part in measured.items()}
        scores = {name: {d: found[name] for d, found in values.items()} for name in self.metrics}
        for found in scores.values():
            found["mean"] = _mean(found.values())
        condition = health(arrays, {d: part.tied_share for d, part in measured.items()})
        return {
            "scores": scores,
            "health": condition["modalities"],
            "collapsed": condition["collapsed_reason"],
        }


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


class Watch:
    """What the loop tells of its steps and epochs, and what comes of it."""

    def __init__(
        self,
        run: RunFolder,
        info: RunInfo,
        pairs: Pairs,
        size: int,
        data: Cache,
        model: Method,
        about: dict[str, Any],
        say: Callable[[str], None],
        ranks: Ranks,
    ) -> None:
        """``size`` pairs a step over all ranks; rank 0 alone scores, writes and speaks."""
        self.run, self.info, self.pairs, self.about, self.say = run, info, pairs, about, say
        self.size, self.ranks = size, ranks
        self.kept_best = RunFolder(run.path, "best")
        self.ids = data.ids
        self.options = info.options
        self.best: dict[str, Any] = {}
        self.collapsed: str | None = None
        self.names: list[str] = []
        self.bad: Tensor | None = None  # index of the first step with a broken term, else -1
        self.terms: Tensor | None = None  # the terms of that step
        self.saved: int | None = None
        self.validation = None
        if self.options.eval_every and ranks.first:
            self.validation = Validation(data, info, model, pairs.device)
        self.trackers = Trackers(self.options.track if ranks.first else (), run, info, say)

    def begin(self, position: Mapping[str, Any], epochs_done: int) -> None:
        """Start at a position: the log keeps its first ``epochs_done`` lines."""
        self.best = dict(position.get("best", {}))
        self.saved = int(position["step"]) or None
        if not self.ranks.first:
            return
        if not self.best:
            self.kept_best.weights.unlink(missing_ok=True)
        _keep_lines(self.run, epochs_done)
        self.trackers.start(epochs_done)

    @property
    def ending(self) -> bool:
        """Whether training is to save and end here, as after a collapse."""
        return self.collapsed is not None and self.options.stop_on_collapse

    def step(self, found: Mapping[str, Tensor], step: Step) -> None:
        """Remember the first step with a broken term, without waiting for the device."""
        values = torch.stack([value.detach().float() for value in found.values()])
        if self.bad is None or self.terms is None:
            self.names = list(found)
            self.bad = torch.full((), -1, dtype=torch.int64, device=values.device)
            self.terms = torch.zeros_like(values)
        first = (self.bad < 0) & ~torch.isfinite(values).all()
        self.bad = torch.where(first, step.index, self.bad)
        self.terms = torch.where(first, values, self.terms)

    def check(self, sums: Mapping[str, float], per_epoch: int) -> None:
        """End the run where a loss was not finite, with the batch and its terms on disk."""
        if all(math.isfinite(value) for value in sums.values()):
            return
        index = -1 if self.bad is None else int(self.bad)
        index = index if index >= 0 else 0
        epoch, at = divmod(index, per_epoch)
        order = epoch_order(len(self.pairs), self.info.seed, epoch)
        order = order[at * self.size : (at + 1) * self.size]
        values = [] if self.terms is None else self.terms.tolist()
        terms = dict(zip(self.names, values, strict=True))
        bad = sorted(name for name, value in terms.items() if not math.isfinite(value))
        path = self.run.path / "nonfinite.json"
        kept = self.run.checkpoint if self.saved else None
        report = {
            "epoch": epoch + 1,
            "step": index + 1,
            "not_finite": bad,
            "terms": {n: v if math.isfinite(v) else str(v) for n, v in terms.items()},
            "ids": self.ids[self.pairs.rows[order]].tolist(),
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
    ) -> float:
        """Write the line of the epoch that ends with ``step`` and took ``seconds``, with validation
        scores where they are due; the seconds that this took."""
        self.check(terms, per_epoch)
        started = time.perf_counter()
        line = {
            "epoch": step.epoch + 1,
            "step": step.index + 1,
            "lr": lr,
            **terms,
            "pairs_per_s": round(per_epoch * self.size / max(seconds, 1e-9), 1),
            "seconds": round(seconds, 3),
        }
        self.best, self.collapsed = self.ranks.told(lambda: self._log(model, line))
        return time.perf_counter() - started

    def _log(self, model: Method, line: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
        if self.validation and self._due(line["epoch"]):
            line["val"] = self._validate(model, line["epoch"], line["step"])
        append_jsonl(self.run.metrics, line)
        self.trackers.log(line)
        return self.best, self.collapsed

    def _due(self, done: int) -> bool:
        last = self.info.method_card.train.epochs
        return done % self.options.eval_every == 0 or done == last

    def _validate(self, model: Method, epoch: int, step: int) -> dict[str, Any]:
        assert self.validation is not None
        found = self.validation.score(model)
        self.collapsed = found["collapsed"]
        if self.collapsed:
            self.say(f"epoch {epoch}: the embeddings have collapsed: {self.collapsed}")
        name = self.options.keep_best
        value = found["scores"][name]["mean"] if name else None
        if value is not None and (not self.best or value > self.best["value"]):
            self.best = {"metric": name, "value": value, "epoch": epoch, "step": step}
            save_weights(self.kept_best.weights, model, {**self.about, "best": self.best})
        return found

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
    path = run.metrics
    if not epochs:
        path.unlink(missing_ok=True)
    if not path.is_file():
        return
    kept = [line for line in path.read_text().splitlines() if line.endswith("}")][:epochs]
    if len(read_jsonl(path)) != epochs or len(kept) != epochs:
        write_text(path, "".join(line + "\n" for line in kept))
