"""Losses over the batch of all ranks; two ranks against one process stand in training/test_step."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist

from crbench.models import across


@pytest.fixture
def alone() -> Iterator[dist.ProcessGroup]:
    """A group of one rank."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield dist.group.WORLD
    dist.destroy_process_group()


def test_outside_of_ranks_nothing_happens() -> None:
    x = torch.randn(3, 2)
    assert across.size() == 1
    assert across.gathered(x) is x and across.averaged(x) is x


def test_ranks_are_those_of_the_innermost_group_and_end_with_it(alone: dist.ProcessGroup) -> None:
    x = torch.randn(3, 2)
    assert across.gathered(x) is x  # joined, but not asked to share
    with across.ranks(alone):
        assert torch.equal(across.gathered(x), x) and across.gathered(x) is not x
        torch.testing.assert_close(across.averaged(x), x)
        with across.ranks(None):
            assert across.gathered(x) is x
        with pytest.raises(RuntimeError), across.ranks(None):
            raise RuntimeError
        assert across.gathered(x) is not x
    assert across.gathered(x) is x


def test_a_gradient_through_a_group_of_one_is_the_gradient(alone: dist.ProcessGroup) -> None:
    x = torch.randn(3, 2, requires_grad=True)
    with across.ranks(alone):
        (gradient,) = torch.autograd.grad(across.gathered(x).square().sum(), x)
    torch.testing.assert_close(gradient, 2 * x)


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_each_rank_gets_its_own_part_times_their_number(rank: int) -> None:
    """DDP divides by it again."""
    gradient = torch.arange(12.0).view(6, 2)
    found, none = across._Gathered.backward(SimpleNamespace(rank=rank, size=3), gradient)
    assert torch.equal(found, 3 * gradient[2 * rank : 2 * rank + 2]) and none is None
