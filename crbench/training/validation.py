"""The validation split, scored while a run trains: scores, health, collapse."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from crbench.data.cache.reading import Cache
from crbench.data.pairs import Pairs
from crbench.embedding.embedder import Embedder, serving
from crbench.errors import UserError, unknown
from crbench.models.base import Method
from crbench.run.folder import Options, RunInfo
from crbench.scoring import health, per_query
from crbench.scoring.metrics import means, metric_names
from crbench.training.trackers import ADAPTERS
from crbench.words import KS

UNSEEN = "pair_r@5"  # finds the query's own pair: asks for no label
_SPLIT = "val"  # never scored by a record of the default protocol's queries as "test" is


def check_options(options: Options, data: Cache, model: Method) -> None:
    """Refuse options that cannot be followed, before anything is written."""
    for name in options.track:
        if name not in ADAPTERS:
            raise unknown("tracker", name, ADAPTERS, where="--track")
    needs = {"--keep-best": options.keep_best, "--stop-on-collapse": options.stop_on_collapse}
    for name, value in needs.items():
        if value and not options.eval_every:
            raise UserError(f"{name} needs validation scores", where=name, fix="add --eval-every N")
    if not options.eval_every:
        return
    if len(data.rows([_SPLIT])) < 2:
        raise UserError("too few validation pairs", where=data.path, fix="leave out --eval-every")
    known = _metrics_of(data, model)
    if options.keep_best is not None and options.keep_best not in known:
        raise unknown("metric", options.keep_best, known, where="--keep-best")


def _metrics_of(data: Cache, model: Method) -> list[str]:
    """Names of the metrics that a direction of ``model`` has on ``data``."""
    kind = data.card.labels.kind
    each = [metric_names(direction, kind, KS) for direction in model.directions]
    return list(dict.fromkeys(name for names in each for name in names))


class Validation:
    """The validation split, scored leave-one-out: every pair is query and gallery item."""

    def __init__(self, data: Cache, info: RunInfo, model: Method, device: Any) -> None:
        self.data, self.threads = data, info.threads
        self.embedder = Embedder(model, device, batch_size=info.method_card.train.eval_batch_size)
        self.pairs = Pairs(data, [_SPLIT], image_size=model.image_size, device=device)
        self.items = data.items(self.pairs.rows)
        wanted = [*data.card.headline, UNSEEN, info.options.keep_best]
        self.metrics = [name for name in _metrics_of(data, model) if name in wanted]

    def score(self) -> dict[str, Any]:
        """``scores`` {metric: {direction or "mean": value}} of the directions that have it,
        ``health``, and why the embeddings are ``collapsed`` or ``narrow``, or null.

        The model is left as it was, and no random number is drawn.
        """
        views = self.embedder.embed_pairs(self.pairs, self.data)
        arrays: dict[str, tuple[np.ndarray, np.ndarray]] = {
            direction: (
                views[f"{direction[0]}/{served.query}"],
                views[f"{direction[1]}/{served.gallery}"],
            )
            for direction, served in serving(self.embedder.model).items()
        }
        labels = self.data.card.labels
        measured = per_query(
            arrays,
            self.items,
            self.items,
            label_kind=labels.kind,
            n_classes=len(labels.classes),
            threads=self.threads,
        )
        values = {direction: means(part.values, KS) for direction, part in measured.items()}
        scores = {
            name: {d: part[name] for d, part in values.items() if name in part}
            for name in self.metrics
        }
        for by_direction in scores.values():
            by_direction["mean"] = _mean(by_direction.values())
        condition = health(arrays, {d: part.tied_share for d, part in measured.items()})
        return {
            "scores": scores,
            "health": condition["modalities"],
            "collapsed": condition["collapsed_reason"],
            "narrow": condition["narrow_reason"],
        }


def _mean(values: Iterable[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
