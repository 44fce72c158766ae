"""A linear probe: what a classifier with labels reads from embeddings made without them.

A supervised reference, not retrieval: logistic regression (L2, C = 1, scikit-learn) on standardised
unit vectors of the training splits, one against the rest for several labels per image, judged on
the protocol's queries.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, average_precision_score, f1_score
from sklearn.preprocessing import StandardScaler, normalize

from crbench.cards import ProtocolCard
from crbench.data.cache.reading import Cache
from crbench.data.pairs import Pairs
from crbench.embedding.embedder import Embedder
from crbench.errors import UserError
from crbench.records import Direction, ProbeEntry, Serves
from crbench.run.opened import OpenedRun
from crbench.scoring.tiles import one_blas_thread
from crbench.words import MODALITIES, Modality

_CLASSIFIER = "logistic regression, L2, C=1, standardised unit vectors"
_STEPS = 1000  # of L-BFGS at most


def check_probe(data: Cache, protocol: ProtocolCard) -> None:
    """UserError where a probe would mean nothing: no labels, or queries that it was trained on."""
    where = f"--probe on {data.card.name}"
    if data.labels is None or data.card.labels.kind == "none":
        raise UserError("a linear probe needs labels", where=where, fix="leave out --probe")
    seen = sorted(set(protocol.query) & set(data.card.train_splits))
    if seen:
        raise UserError(
            f"the queries are training pairs ({', '.join(seen)}): a probe would know the answers",
            where=where,
            fix="take a protocol with other queries, or leave out --probe",
        )
    multi = data.card.labels.kind == "multi"
    train, query = (data.labels[data.rows(s)] for s in (data.card.train_splits, protocol.query))
    known = train.any(axis=0) if multi else np.unique(train)
    tested = query.any(axis=0) if multi else np.unique(query)
    common = (known & tested).sum() if multi else len(np.intersect1d(known, tested))
    if common < (1 if multi else 2):
        raise UserError(
            "the classes of the queries do not occur in the training splits",
            where=where,
            fix="leave out --probe",
        )


def probe_run(
    run: OpenedRun,
    protocol: ProtocolCard,
    serves: Mapping[Direction, Serves],
    device: torch.device,
    *,
    quiet: bool = False,
) -> dict[Modality, ProbeEntry]:
    """A probe of each modality, on the view that serves its queries (same-modal where it can)."""
    data = run.cache
    embedder = Embedder.of_run(run.folder, run.info, device, quiet=quiet)
    probes: dict[Modality, ProbeEntry] = {}
    for modality in MODALITIES:
        own = sorted(serves, key=lambda d: (d[0] != modality, d[0] != d[1], d))[0]
        if own[0] != modality:
            continue
        view = serves[own].query
        vectors, labels = [], []
        for splits in (data.card.train_splits, protocol.query):
            size, only = embedder.model.image_size, (modality,)
            pairs = Pairs(data, splits, image_size=size, device=device, modalities=only)
            sensor = data.card.modality(modality).name
            vectors.append(embedder.embed(pairs, modality, f"{sensor} for the probe")[view])
            labels.append(np.asarray(data.labels)[pairs.rows])
        probes[modality] = ProbeEntry(
            view=view,
            classifier=_CLASSIFIER,
            n_train=len(vectors[0]),
            n_query=len(vectors[1]),
            **judged(vectors[0], labels[0], vectors[1], labels[1], data.card.labels.kind),
        )
    return probes


def judged(
    train: np.ndarray, train_labels: Any, query: np.ndarray, query_labels: Any, kind: str
) -> dict[str, Any]:
    """Train on ``train`` (N, D) and judge on ``query`` (Nq, D); labels as in ``scoring.Items``.

    Returns n_classes, accuracy, macro_f1 and macro_map, over the classes of the queries.
    """
    scaler = StandardScaler().fit(normalize(train.astype(np.float64)))
    x, q = (scaler.transform(normalize(part.astype(np.float64))) for part in (train, query))
    with one_blas_thread():
        if kind == "single":
            return _single(x, np.asarray(train_labels), q, np.asarray(query_labels))
        return _multi(x, np.asarray(train_labels), q, np.asarray(query_labels))


def _single(x: np.ndarray, y: np.ndarray, q: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    guess = LogisticRegression(max_iter=_STEPS).fit(x, y).predict(q)
    classes = np.unique(truth)
    return {
        "n_classes": len(classes),
        "accuracy": _round(accuracy_score(truth, guess)),
        "macro_f1": _round(
            f1_score(truth, guess, labels=classes, average="macro", zero_division=0)
        ),
        "macro_map": None,
    }


def _multi(x: np.ndarray, y: np.ndarray, q: np.ndarray, truth: np.ndarray) -> dict[str, Any]:
    f1, precision = [], []
    for c in np.flatnonzero(truth.any(axis=0)):
        if y[:, c].min() == y[:, c].max():  # nothing to tell apart: one answer for all
            scores = np.full(len(q), 1.0 if y[0, c] else -1.0)
        else:
            scores = LogisticRegression(max_iter=_STEPS).fit(x, y[:, c]).decision_function(q)
        f1.append(f1_score(truth[:, c], scores > 0, zero_division=0))
        precision.append(average_precision_score(truth[:, c], scores))
    return {
        "n_classes": len(f1),
        "accuracy": None,
        "macro_f1": _round(float(np.mean(f1))),
        "macro_map": _round(float(np.mean(precision))),
    }


def _round(value: float) -> float:
    return float(f"{value:.6g}")
