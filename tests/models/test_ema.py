"""Moving averages: the schedule's ends, the update against float64, no gradients."""

from __future__ import annotations

import torch
from torch import nn

from crbench.models import ema
from crbench.models.base import Step


def test_momentum_is_linear_from_start_to_end() -> None:
    table = ema.EMATable()
    at = [ema.momentum(table, Step(i, 0, 100, 0)) for i in (0, 25, 50, 99)]
    assert at == [0.996, 0.997, 0.998, 0.996 + 0.004 * 0.99]


def test_update_moves_every_parameter_by_its_share() -> None:
    torch.manual_seed(0)
    online = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    target = ema.frozen_copy(online)
    with torch.no_grad():
        for parameter in online.parameters():
            parameter.add_(torch.randn_like(parameter))
    expected = [
        0.9 * t.double() + 0.1 * o.double()
        for t, o in zip(target.parameters(), online.parameters(), strict=True)
    ]
    ema.update(target, online, 0.9)
    for found, value in zip(target.parameters(), expected, strict=True):
        torch.testing.assert_close(found.double(), value, rtol=1e-6, atol=1e-7)


def test_a_momentum_of_one_changes_nothing() -> None:
    online = nn.Linear(3, 4)
    target = ema.frozen_copy(online)
    before = [p.clone() for p in target.parameters()]
    nn.init.zeros_(online.weight)
    ema.update(target, online, 1.0)
    assert all(torch.equal(a, b) for a, b in zip(before, target.parameters(), strict=True))


def test_copies_share_no_memory_and_take_no_gradient() -> None:
    online = nn.Linear(3, 4)
    target = ema.frozen_copy(online)
    assert not any(p.requires_grad for p in target.parameters())
    assert all(p.requires_grad for p in online.parameters())
    assert target.weight.data_ptr() != online.weight.data_ptr()
