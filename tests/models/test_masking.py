"""Multi-block masks: ranges, reach, disjointness, independence of the batch."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from crbench.models.base import Step
from crbench.models.masking import Blocks, MaskTable, draw_blocks, draw_sizes

TABLE = MaskTable()
KEYS = torch.arange(3000) * 1_000_003 + 17


def step(index: int = 0, epoch: int = 0, seed: int = 0) -> Step:
    return Step(index, epoch, 1000, seed)


def members(indices: torch.Tensor, tokens: int) -> torch.Tensor:
    """(B, …) indices → (B, tokens) bool."""
    flat = indices.flatten(1)
    return torch.zeros(len(flat), tokens, dtype=torch.bool).scatter(1, flat, True)


def valid_members(blocks: Blocks, tokens: int) -> torch.Tensor:
    found = torch.zeros(len(blocks.context), tokens, dtype=torch.bool)
    return found.scatter(1, blocks.context, blocks.valid)


def test_sizes_keep_to_the_published_ranges() -> None:
    seen = set()
    for index in range(300):
        sizes = draw_sizes(TABLE, 14, step(index))
        height, width = sizes.target
        seen.add(sizes.target)
        # one patch of rounding on each side, as I-JEPA
        assert 0.15 * 196 - height - width <= height * width <= 0.2 * 196 + height + width
        assert (height - 0.5) / (width + 0.5) <= 1.5 and (height + 0.5) / (width - 0.5) >= 0.75
        assert sizes.context in {(13, 13), (14, 14)}
    assert len(seen) >= 5


def test_sizes_follow_the_step_and_the_seed_alone() -> None:
    assert draw_sizes(TABLE, 14, step(5, epoch=1)) == draw_sizes(TABLE, 14, step(5, epoch=2))
    over_steps = {draw_sizes(TABLE, 14, step(i)) for i in range(50)}
    over_seeds = {draw_sizes(TABLE, 14, step(5, seed=s)) for s in range(50)}
    assert len(over_steps) > 3 and len(over_seeds) > 3


@pytest.mark.parametrize(("side", "least"), [(14, 10), (8, 8), (4, 4)])
def test_targets_are_out_of_the_context_and_enough_context_is_kept(side: int, least: int) -> None:
    table = MaskTable(min_context=least)
    for index in range(12):
        sizes, blocks = (
            draw_sizes(table, side, step(index)),
            draw_blocks(table, side, KEYS, step(index)),
        )
        assert blocks.context.shape == blocks.valid.shape == (len(KEYS), sizes.length)
        assert blocks.targets.shape == (len(KEYS), 4, sizes.target[0] * sizes.target[1])
        context, target = valid_members(blocks, side * side), members(blocks.targets, side * side)
        assert not (context & target).any()
        assert blocks.valid.sum(1).min() >= least
        assert (context.sum(1) == blocks.valid.sum(1)).all()  # no token twice


def test_targets_are_rectangles_of_the_drawn_size() -> None:
    height, width = draw_sizes(TABLE, 14, step(3)).target
    cells = draw_blocks(TABLE, 14, KEYS[:200], step(3)).targets.flatten(0, 1)
    rows, columns = cells // 14, cells % 14
    assert (rows.amax(1) - rows.amin(1) == height - 1).all()
    assert (columns.amax(1) - columns.amin(1) == width - 1).all()
    assert all(len(set(block.tolist())) == height * width for block in cells[:50])


@pytest.mark.parametrize("side", [14, 8, 4])
def test_every_token_is_reached_as_target_and_as_context(side: int) -> None:
    table = MaskTable(min_context=4)
    target, context = torch.zeros(2, side * side, dtype=torch.bool)
    for index in range(6):
        blocks = draw_blocks(table, side, KEYS, step(index))
        target |= members(blocks.targets, side * side).any(0)
        context |= valid_members(blocks, side * side).any(0)
    assert target.all() and context.all()


def test_corners_of_blocks_are_uniform() -> None:
    height, width = draw_sizes(TABLE, 14, step(0)).target
    corner = draw_blocks(TABLE, 14, KEYS, step(0)).targets[..., 0].flatten()
    for values, length in ((corner // 14, height), (corner % 14, width)):
        counts = np.bincount(values.numpy(), minlength=14)
        places = 14 - length + 1
        expected = len(corner) / places
        assert (counts[places:] == 0).all()
        assert ((counts[:places] - expected) ** 2 / expected).sum() < 40  # χ², ≤ 9 free: p < 1e-5


def test_length_is_the_mean_count_of_an_independent_simulation() -> None:
    rng = np.random.default_rng(0)
    for side, index in ((14, 0), (14, 7), (8, 1)):
        sizes = draw_sizes(TABLE, side, step(index))
        counts = []
        for _ in range(1500):
            grid = np.zeros((side, side), dtype=bool)
            top, left = (rng.integers(0, side - n + 1) for n in sizes.context)
            grid[top : top + sizes.context[0], left : left + sizes.context[1]] = True
            for _ in range(4):
                top, left = (rng.integers(0, side - n + 1) for n in sizes.target)
                grid[top : top + sizes.target[0], left : left + sizes.target[1]] = False
            counts.append(grid.sum())
        assert sizes.length == pytest.approx(np.mean(counts), abs=1.0)


def test_a_mask_depends_on_seed_epoch_key_and_stream_and_not_on_the_batch() -> None:
    whole = draw_blocks(TABLE, 14, KEYS[:64], step(2, epoch=1))
    order = torch.randperm(64, generator=torch.Generator().manual_seed(0))[:20]
    part = draw_blocks(TABLE, 14, KEYS[:64][order], step(2, epoch=1))
    assert torch.equal(part.context, whole.context[order])
    assert torch.equal(part.valid, whole.valid[order])
    assert torch.equal(part.targets, whole.targets[order])
    assert len({tuple(x.flatten().tolist()) for x in whole.targets}) == 64
    others = (
        draw_blocks(TABLE, 14, KEYS[:64], step(2, epoch=2)),
        draw_blocks(TABLE, 14, KEYS[:64], step(2, epoch=1), stream="b"),
    )
    for other in others:
        assert (other.targets != whole.targets).flatten(1).any(1).float().mean() > 0.95


def test_too_small_a_context_is_filled_from_outside_the_block() -> None:
    table = MaskTable(context_scale=(0.02, 0.02), min_context=10)
    blocks = draw_blocks(table, 14, KEYS, step())
    assert (blocks.valid.sum(1) == 10).all()
    assert not (valid_members(blocks, 196) & members(blocks.targets, 196)).any()


def test_targets_shrink_where_they_could_leave_too_little() -> None:
    table = MaskTable(target_scale=(0.9, 0.9), min_context=10)
    sizes = draw_sizes(table, 8, step())
    assert 4 * sizes.target[0] * sizes.target[1] <= 64 - 10
    assert draw_blocks(table, 8, KEYS, step()).valid.sum(1).min() >= 10
