"""The shared encoder: filled-up context entries count for nothing, its copies move slowly."""

from __future__ import annotations

import torch
from torch import nn

from crbench.models.base import Step
from crbench.models.encoder import (
    EMATable,
    Encoder,
    EncoderTable,
    frozen_copy,
    momentum,
    normalised,
    pool,
    update_copy,
)
from crbench.models.masking import MaskTable, draw_blocks

TABLE = EncoderTable(
    image_size=32,
    patch_size=4,
    width=16,
    depth=2,
    num_heads=2,
    mlp_ratio=2.0,
    predictor_depth=1,
    masks=MaskTable(min_context=8),
    ema=EMATable(),
)


def test_context_is_encoded_as_if_each_sample_had_its_own_length() -> None:
    torch.manual_seed(0)
    encoder = Encoder({"a": 2}, TABLE, counted=False)
    images = torch.randn(24, 2, 32, 32)
    blocks = draw_blocks(TABLE.masks, TABLE.side, torch.arange(24), Step(0, 0, 10, 0))
    assert not blocks.valid.all()  # otherwise this would test nothing
    pooled = pool(encoder(images, "a", blocks), blocks.valid)
    tokens = encoder.stems["a"](images) + encoder.positions
    for i in range(24):
        own = tokens[i, blocks.context[i][blocks.valid[i]]]
        expected = encoder.trunk(own[None]).mean(1)[0]
        torch.testing.assert_close(pooled[i], expected, rtol=1e-4, atol=1e-5)


def test_context_does_not_see_the_targets() -> None:
    torch.manual_seed(0)
    encoder = Encoder({"a": 2}, TABLE, counted=False)
    images = torch.randn(6, 2, 32, 32)
    blocks = draw_blocks(TABLE.masks, TABLE.side, torch.arange(6), Step(0, 0, 10, 0))
    hidden = torch.zeros(6, 64).scatter(1, blocks.targets.flatten(1), 1.0).view(6, 1, 8, 8)
    changed = images + 5 * hidden.repeat_interleave(4, 2).repeat_interleave(4, 3)
    before, after = (pool(encoder(x, "a", blocks), blocks.valid) for x in (images, changed))
    assert torch.equal(before, after)
    assert not torch.allclose(encoder(images, "a"), encoder(changed, "a"), atol=0.1)


def test_positions_count_as_parameters_only_where_they_should() -> None:
    counted, free = (Encoder({"a": 2}, TABLE, counted=c) for c in (True, False))
    numbers = [sum(p.numel() for p in e.parameters()) for e in (counted, free)]
    assert numbers[0] - numbers[1] == 64 * 16
    assert not dict(counted.named_parameters())["positions"].requires_grad
    assert "positions" not in free.state_dict()
    torch.testing.assert_close(counted.positions, free.positions)


def test_normalised_tokens_have_no_mean_and_unit_variance() -> None:
    tokens = normalised(7 * torch.randn(3, 5, 64).bfloat16() + 2)
    assert tokens.dtype == torch.float32
    torch.testing.assert_close(tokens.mean(-1), torch.zeros(3, 5), atol=1e-5, rtol=0)
    torch.testing.assert_close(tokens.var(-1, correction=0), torch.ones(3, 5), atol=1e-3, rtol=0)


def test_momentum_is_linear_from_start_to_end() -> None:
    table = EMATable()
    at = [momentum(table, Step(i, 0, 100, 0)) for i in (0, 25, 50, 99)]
    assert at == [0.996, 0.997, 0.998, 0.996 + 0.004 * 0.99]


def test_update_moves_every_parameter_by_its_share() -> None:
    torch.manual_seed(0)
    online = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    target = frozen_copy(online)
    with torch.no_grad():
        for parameter in online.parameters():
            parameter.add_(torch.randn_like(parameter))
    expected = [
        0.9 * t.double() + 0.1 * o.double()
        for t, o in zip(target.parameters(), online.parameters(), strict=True)
    ]
    update_copy(target, online, 0.9)
    for found, value in zip(target.parameters(), expected, strict=True):
        torch.testing.assert_close(found.double(), value, rtol=1e-6, atol=1e-7)


def test_a_momentum_of_one_changes_nothing() -> None:
    online = nn.Linear(3, 4)
    target = frozen_copy(online)
    before = [p.clone() for p in target.parameters()]
    nn.init.zeros_(online.weight)
    update_copy(target, online, 1.0)
    assert all(torch.equal(a, b) for a, b in zip(before, target.parameters(), strict=True))


def test_copies_share_no_memory_and_take_no_gradient() -> None:
    online = nn.Linear(3, 4)
    target = frozen_copy(online)
    assert not any(p.requires_grad for p in target.parameters())
    assert all(p.requires_grad for p in online.parameters())
    assert target.weight.data_ptr() != online.weight.data_ptr()
