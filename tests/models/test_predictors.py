"""Predictors: routes share them as the strategies say, and filled-up context counts for nothing."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from crbench.models.predictors import SHARING, CrossAttention, CrossBlock, Predictor, predict
from crbench.words import DIRECTIONS

SLOTS = 4  # targets of each route


@pytest.mark.parametrize("strategy", SHARING)
def test_batched_routes_equal_single_ones(strategy: str) -> None:
    torch.manual_seed(1)
    serves = SHARING[strategy]
    names = dict.fromkeys(serves.values())
    predictors = nn.ModuleDict({name: Predictor(32, 2, 4) for name in names})
    contexts = {x: torch.randn(3, 5, 32) for x in "ab"}
    places = {x: torch.randn(3, SLOTS, 32) for x in "ab"}
    together = predict(predictors, serves, contexts, places)
    assert set(together) == set(DIRECTIONS)
    for route in DIRECTIONS:
        alone = predictors[serves[route]](contexts[route[0]], places[route[1]])
        assert torch.allclose(together[route], alone, atol=1e-5)


def test_a_target_is_told_from_another_by_its_position_alone() -> None:
    torch.manual_seed(0)
    predictor, context = Predictor(32, 1, 4), torch.randn(2, 6, 32)
    places = torch.randn(2, SLOTS, 32)
    order = torch.tensor([2, 0, 3, 1])
    found, mixed = predictor(context, places), predictor(context, places[:, order])
    torch.testing.assert_close(mixed, found[:, order])
    same = predictor(context, places[:, :1].expand(-1, SLOTS, -1))
    torch.testing.assert_close(same, same[:, :1].expand_as(same))


def test_attention_is_the_formula_over_what_may_be_attended_to() -> None:
    torch.manual_seed(0)
    attention = CrossAttention(8, 2).double()
    queries, context = torch.randn(2, 3, 8).double(), torch.randn(2, 5, 8).double()
    valid = torch.tensor([[True] * 5, [True, True, False, True, False]])
    found = attention(queries, context, valid[:, None, None, :])
    q, (k, v) = attention.q(queries), attention.kv(context).split(8, dim=-1)
    for sample in range(2):
        heads = []
        for head in (slice(0, 4), slice(4, 8)):
            keys, values = (x[sample][valid[sample]][:, head] for x in (k, v))
            weights = (q[sample][:, head] @ keys.T / 2).softmax(-1)  # √4, the width of a head
            heads.append(weights @ values)
        torch.testing.assert_close(found[sample], attention.proj(torch.cat(heads, -1)))


def test_only_the_slots_that_are_asked_for_come_out() -> None:
    torch.manual_seed(0)
    block = CrossBlock(16, 2, 2.0)
    x, context = torch.randn(2, 7, 16), torch.randn(2, 5, 16)
    (whole, refined), (few, few_refined) = block(x, context), block(x, context, slots=SLOTS)
    assert few.shape == (2, SLOTS, 16)
    torch.testing.assert_close(few, whole[:, :SLOTS])
    torch.testing.assert_close(few_refined, refined[:, :SLOTS])
