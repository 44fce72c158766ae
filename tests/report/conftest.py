"""Records made to measure, so that a board's arithmetic can be checked by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from crbench.cards import load_dataset, load_method
from crbench.records import Record

DIRECTIONS = ("aa", "bb", "ab", "ba")


@pytest.fixture
def make_record() -> Callable[..., Record]:
    """``make_record(method, value, seed=0, ...)``: one record whose headline is ``value``."""

    def make(
        method: str = "cr-jepa",
        value: float = 0.5,
        *,
        seed: int = 0,
        spread: float = 0.01,
        dataset: str = "ben-14k-twin",
        protocol: str = "leave-one-out",
        cache: str = "c" * 64,
        overrides: tuple[str, ...] = (),
        created: str = "2026-01-02T03:04:05Z",
        values: dict[str, float] | None = None,
        **changes: Any,
    ) -> Record:
        card = load_method(method, scale="tiny", overrides=overrides)
        data = load_dataset(dataset)
        chosen = data.protocols[protocol]
        scores = {
            d: {
                metric: {"value": v, "low": v - spread, "high": v + spread}
                for metric in (*data.headline, "pair_r@1")
            }
            for d, v in (dict.fromkeys(DIRECTIONS, value) | (values or {})).items()
        }
        done = changes.pop("epochs_done", card.train.epochs)
        fields: dict[str, Any] = {
            "run": f"{card.name}-tiny-seed{seed}",
            "created": created,
            "method": {
                "name": card.name, "title": card.title, "kind": card.kind, "paper": card.paper,
                "scale": card.scale, "digest": card.digest, "card": card.to_dict(),
            },
            "dataset": {
                "name": data.name, "title": data.title, "synthetic": data.synthetic,
                "note": data.note, "scale": data.scale, "card_digest": data.digest,
                "cache_digest": cache, "card": data.to_dict(), "sizes": {"train": 90, "test": 40},
            },
            "modalities": {
                m: {"name": data.modality(m).name, "bands": data.modality(m).bands} for m in "ab"
            },
            "protocol": {
                "name": protocol, "query": chosen.query, "gallery": chosen.gallery,
                "n_query": 40, "n_gallery": 41, "exclude_self": True,
                "similarity": "cosine, float32", "ties": "expected over random order",
            },
            "serves": {
                "aa": {"query": "uni", "gallery": "uni"}, "bb": {"query": "uni", "gallery": "uni"},
                "ab": {"query": "cross", "gallery": "cross"},
                "ba": {"query": "predicted", "gallery": "cross"},
            },
            "scores": scores,
            "chance": {d: dict.fromkeys(data.headline, 0.1) for d in DIRECTIONS},
            "per_class": {d: {} for d in DIRECTIONS},
            "counts": {d: {} for d in DIRECTIONS},
            "health": {"collapsed_reason": changes.pop("reason", None)},
            "collapsed": False,
            "training": {
                "seed": seed, "epochs": done, "epochs_planned": card.train.epochs, "steps": 5,
                "train_splits": data.train_splits, "n_train": 90, "seconds": 1.5,
                "checkpoint": "last", "device": "cpu", "threads": 1, "precision": "fp32",
                "params_trainable": 1_250_000, "params_total": 1_250_000,
                "params_inference": 600_000, "final_terms": {},
                "finished": done == card.train.epochs,
            },
            "digests": {}, "timings": {}, "versions": {}, "hardware": {}, "command": "crbench",
            "resamples": 1000,
        }  # fmt: skip
        return Record.model_validate(fields | changes)

    return make
