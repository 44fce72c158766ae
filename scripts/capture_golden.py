"""Capture each method's first five steps anew: ``python scripts/capture_golden.py [METHOD ...]``.

Writes tests/golden/losses.json, which tests/models/test_golden.py compares with: the losses
(rtol 1e-4) on every machine, and a digest of the losses and weights to the bit on machines that
have one, since an order of additions that changes moves trained scores and no loss by 1e-4.

Run it on a machine that has no digest yet, which adds one, or after a change that is meant to
move the losses or the order of operations, and say in the commit why. Without names every method
that is trained by gradients is captured; named ones replace theirs.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import sys
from pathlib import Path

import torch

from crbench import machine
from crbench.cards import MethodCard, load_method, names
from crbench.files import sha256_json, write_json
from crbench.models.base import Method, Step
from crbench.models.hashing import normal
from crbench.models.registry import build_method, method_class
from crbench.seeds import derive
from crbench.training.schedule import make_optimizer, make_scheduler

PATH = Path(__file__).resolve().parent.parent / "tests" / "golden" / "losses.json"
STEPS, PAIRS = 5, 16
BANDS = {"a": 2, "b": 12}


def here() -> str:
    """What bits depend on: the version of torch, the instructions that it uses, the processor."""
    capability = torch.backends.cpu.get_cpu_capability()
    return f"torch {torch.__version__}, {capability}, {machine.hardware()['processor']}"


def first_steps(card: MethodCard) -> tuple[list[float], str]:
    """The loss at each of the first five optimiser steps, on fixed pairs and seeds, on one thread;
    and a digest of these and of all weights after them, to the bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        model, losses = _train(card)
    finally:
        torch.set_num_threads(threads)
    digest = hashlib.sha256(" ".join(value.hex() for value in losses).encode())
    for tensor in model.state_dict().values():
        digest.update(tensor.contiguous().numpy().tobytes())
    return losses, digest.hexdigest()


def _train(card: MethodCard) -> tuple[Method, list[float]]:
    torch.manual_seed(derive("golden", card.name))
    model = build_method(card, BANDS)
    train = card.train
    optimizer = make_optimizer(model, train)
    per_epoch = 3  # so that the five steps cross into a second epoch, with other masks
    scheduler = make_scheduler(optimizer, train, per_epoch)
    side, losses = model.image_size, []
    for index in range(STEPS):
        step = Step(index, index // per_epoch, train.epochs * per_epoch, seed=0)
        scheduler.step_update(index)
        seeds = {m: derive("golden", m, index) for m in BANDS}
        batch = {m: normal(seeds[m], PAIRS, BANDS[m], side, side) for m in BANDS}
        terms = model.loss({**batch, "keys": torch.arange(PAIRS) + PAIRS * index}, step)
        optimizer.zero_grad()
        terms["loss"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), train.clip)
        optimizer.step()
        model.after_step(step)
        losses.append(float(terms["loss"].detach()))
    return model, losses


def settings(card: MethodCard) -> str:
    """SHA-256 of what moves losses in a card: its tables, not its title or summary."""
    return sha256_json({key: card.to_dict()[key] for key in ("class", "model", "loss", "train")})


def trained_methods() -> list[str]:
    """Cards of methods that are trained by gradients, in their tiny scale."""
    cards = {name: load_method(name, scale="tiny") for name in names("methods")}
    return [
        name
        for name, card in cards.items()
        if card.kind == "method" and method_class(card).trained_by == "gradient"
    ]


def main(chosen: list[str]) -> None:
    """Capture ``chosen``, or all, and keep the others as they are."""
    known = json.loads(PATH.read_text()) if PATH.is_file() else {}
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    for name in chosen or trained_methods():
        card = load_method(name, scale="tiny")
        losses, digest = first_steps(card)
        entry = {"captured": today, "torch": torch.__version__, "settings": settings(card)}
        before = known.get(name, {"settings": "", "losses": []})
        same = entry["settings"] == before["settings"] and all(
            math.isclose(*pair, rel_tol=1e-4) for pair in zip(losses, before["losses"], strict=True)
        )
        digests = before.get("digests", {}) if same else {}
        if digests.get(here(), digest) != digest:
            digests = {}  # the operations have another order, so those of other machines are old
        entry = before if same else entry | {"losses": losses}
        known[name] = entry | {"digests": digests | {here(): digest}}
        print(f"{name}: {losses}, {digest[:12]} on {here()}")
    write_json(PATH, dict(sorted(known.items())))


if __name__ == "__main__":
    main(sys.argv[1:])
