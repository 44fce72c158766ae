"""Learning rate and weight decay step by step, against the formulas that the cards state."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from torch import nn

from crbench.cards import TrainTable, load_method
from crbench.models.base import Step
from crbench.training.schedule import make_optimizer, make_scheduler, set_weight_decay


def table(**values: Any) -> TrainTable:
    card = {
        "epochs": 10, "batch_size": 4, "lr_start": 1e-5, "lr": 1e-3, "lr_end": 1e-6,
        "warmup_epochs": 2, "weight_decay": 0.04, "weight_decay_end": 0.4, "clip": 1.0,
    }  # fmt: skip
    return TrainTable.model_validate(card | values)


def model() -> nn.Module:
    """One matrix and its bias, a norm, and a part that does not train."""
    whole = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 4))
    whole[2].requires_grad_(False)
    return whole


def half_cosine(start: float, end: float, share: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def rates(train: TrainTable, steps_per_epoch: int) -> list[float]:
    """The learning rate that each step of a whole run goes by."""
    optimizer = make_optimizer(model(), train)
    scheduler = make_scheduler(optimizer, train, steps_per_epoch)
    found = []
    for index in range(train.epochs * steps_per_epoch):
        scheduler.step_update(index)
        (rate,) = {group["lr"] for group in optimizer.param_groups}
        found.append(rate)
    return found


@pytest.mark.parametrize("warmup", [0, 2, 0.5, 2.3])
def test_the_rate_rises_linearly_and_falls_by_a_cosine(warmup: float) -> None:
    train, per_epoch = table(warmup_epochs=warmup), 7
    rising, total = int(warmup * per_epoch), 10 * per_epoch
    expected = [
        train.lr_start + (train.lr - train.lr_start) * step / rising
        if step < rising
        else half_cosine(train.lr, train.lr_end, (step - rising) / (total - rising))
        for step in range(total)
    ]
    found = rates(train, per_epoch)
    assert found == pytest.approx(expected, rel=1e-9)
    assert max(found) == found[rising] == pytest.approx(train.lr)


def test_a_warm_up_longer_than_the_run_ends_with_it() -> None:
    """The last step is the first of the cosine: the rate of the card is reached and no more."""
    found = rates(table(epochs=2, warmup_epochs=30), 5)
    assert found[0] == pytest.approx(1e-5) and found[-1] == pytest.approx(1e-3)
    assert all(after > before for before, after in itertools.pairwise(found))


def test_a_run_of_one_step_has_the_cards_rate() -> None:
    assert rates(table(epochs=1), 1) == pytest.approx([1e-3])


def decays(optimizer: torch.optim.Optimizer) -> dict[tuple[int, ...], float]:
    """Weight decay by the shape of the parameter."""
    return {
        tuple(parameter.shape): group["weight_decay"]
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


@pytest.mark.parametrize("vectors", [False, True])
def test_weight_decay_follows_its_cosine_and_spares_vectors(vectors: bool) -> None:
    train = table(decay_vectors=vectors)
    optimizer = make_optimizer(model(), train)
    for index in range(0, 100, 9):
        set_weight_decay(optimizer, train, Step(index=index, epoch=0, total=100, seed=0))
        expected = half_cosine(0.04, 0.4, index / 100)
        on_vectors = expected if vectors else 0.0
        assert decays(optimizer) == {
            (4, 3): pytest.approx(expected), (4,): pytest.approx(on_vectors),
        }  # fmt: skip
    assert expected > 0.35  # it did move


def test_decay_stands_before_the_first_step_and_frozen_parts_are_left_out() -> None:
    optimizer = make_optimizer(model(), table())
    assert decays(optimizer) == {(4, 3): 0.04, (4,): 0.0}
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 4


def test_a_decay_of_zero_at_the_start_still_rises() -> None:
    """Which groups decay is said by what they hold, not by the value they begin with."""
    train = table(weight_decay=0.0, weight_decay_end=0.2)
    optimizer = make_optimizer(model(), train)
    set_weight_decay(optimizer, train, Step(index=50, epoch=0, total=100, seed=0))
    assert decays(optimizer) == {(4, 3): pytest.approx(0.1), (4,): 0.0}


def test_the_papers_card_warms_up_before_it_falls() -> None:
    train = load_method("cr-jepa").train
    found = rates(train, 3)
    top = int(train.warmup_epochs * 3)
    assert 0 < top < len(found) and found.index(max(found)) == top
