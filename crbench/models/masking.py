"""Which tokens a model sees and which it predicts: random masks, and I-JEPA's multi-block masks.

Both are drawn on the device from (seed, epoch, key), so that they depend neither on the order of a
batch nor on the ranks. Equal keys have equal masks. Shapes: keys (B,) int64, token indices int64.

Multi-block masks (I-JEPA, arXiv 2301.08243, section 3): one context block, several targets. Block
*sizes* are drawn on the host from the global step and shared by the batch, so that every length is
known without asking the device; block *positions* are drawn per sample.

How many context tokens remain after the targets are taken out still differs between samples.
I-JEPA cuts all of them to the smallest count of the batch; finding it stops the device, and
makes a sample's mask depend on its neighbours. Here the length is the *expected* count, which
follows from the sizes alone: samples with more tokens lose a random few, samples with fewer are
filled up with entries marked invalid, which attention and pooling leave out.
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from crbench.cards import Strict
from crbench.models.base import Step
from crbench.models.hashing import hashed
from crbench.seeds import derive

Size = tuple[int, int]
Range = tuple[float, float]
_MAX_NOISE = (1 << 30) - 1


class Split(NamedTuple):
    """Tokens of each sample: those a model sees (B, T − M), those it predicts (B, M)."""

    visible: Tensor
    hidden: Tensor


def masked_count(tokens: int, ratio: float) -> int:
    """Number of hidden tokens M: ``tokens · ratio`` to the nearest, at least 1, at most T − 1."""
    return min(max(1, int(tokens * ratio + 0.5)), tokens - 1)


def random_split(keys: Tensor, tokens: int, ratio: float, *seed: object) -> Split:
    """Hide ``ratio`` of the tokens of every sample, uniformly at random, each sample its own.

    ``seed`` names the draw, e.g. (run seed, epoch, modality). Every token gets the hash of
    (seed, key, index) as its rank; the lowest stay visible. Equal keys have equal splits.
    """
    index = torch.arange(tokens, device=keys.device)
    ranks = hashed(derive("random mask", *seed), keys.unsqueeze(1), index)
    order = ranks.argsort(dim=1, stable=True)
    seen = tokens - masked_count(tokens, ratio)
    return Split(order[:, :seen], order[:, seen:])


class MaskTable(Strict):
    """Scales are shares of the image's area; aspect is height over width of a target.

    At least ``min_context`` tokens are kept: where the context block has fewer left, tokens
    outside of it (and of all targets) come in.
    """

    context_scale: Range = (0.85, 1.0)
    target_scale: Range = (0.15, 0.2)
    target_aspect: Range = (0.75, 1.5)
    targets: int = Field(4, ge=1)
    min_context: int = Field(10, ge=1)


@dataclass(frozen=True)
class Sizes:
    """Block heights and widths in patches, and the number of context entries."""

    context: Size
    target: Size
    length: int


@dataclass(frozen=True)
class Blocks:
    """Token indices, row-major over the grid: ``context`` (B, K) with ``valid`` (B, K) bool,
    at least ``min_context`` of them true and none of these in ``targets`` (B, blocks, h·w)."""

    context: Tensor
    valid: Tensor
    targets: Tensor

    @property
    def attention(self) -> Tensor:
        """The mask (B, 1, 1, K) that keeps attention to valid entries."""
        return self.valid[:, None, None, :]


def draw_sizes(table: MaskTable, side: int, step: Step) -> Sizes:
    """Block sizes for a side × side grid at a global step, equal on all ranks."""
    draw = random.Random(derive(step.seed, "block sizes", step.index))
    context = _size(side, draw.uniform(*table.context_scale), 1.0)
    target = _size(side, draw.uniform(*table.target_scale), draw.uniform(*table.target_aspect))
    while table.targets * target[0] * target[1] > side * side - table.min_context:
        # even targets that do not overlap have to leave min_context tokens
        height, width = target
        target = (height - 1, width) if height >= width else (height, width - 1)
    return Sizes(context, target, max(table.min_context, _expected(table, side, context, target)))


def draw_blocks(table: MaskTable, side: int, keys: Tensor, step: Step, stream: str = "") -> Blocks:
    """Masks for pairs with ``keys`` (B,) int64; another ``stream`` gives other positions."""
    sizes, count = draw_sizes(table, side, step), table.targets + 1
    seed = derive(step.seed, "block positions", step.epoch, stream)
    index = torch.arange(2 * count + side * side, device=keys.device)
    noise = hashed(seed, keys[:, None], index) >> 33 & _MAX_NOISE  # (B, …), 30 bits each
    corners, ties = noise[:, : 2 * count].unflatten(1, (count, 2)), noise[:, 2 * count :]
    context = _cells(corners[:, :1], sizes.context, side)
    targets = _cells(corners[:, 1:], sizes.target, side)
    in_context, in_target = _membership(context, side), _membership(targets, side)
    # context without targets first, then other tokens outside the targets, then the targets; at
    # random within each group. The index in the low bits makes all ranks of a sample distinct.
    group = torch.where(in_target, 2, torch.where(in_context, 0, 1))
    cell = torch.arange(side * side, device=keys.device)
    chosen = (group << 60 | ties << 30 | cell).argsort(1)[:, : sizes.length]
    group = group.gather(1, chosen)
    valid = (group == 0) | ((group == 1) & (cell[: sizes.length] < table.min_context))
    return Blocks(chosen, valid, targets)


def _cells(corners: Tensor, size: Size, side: int) -> Tensor:
    """Token indices (B, n, h·w) of blocks whose corners are drawn by noise (B, n, 2) < 2**30.

    A block starts anywhere from 0 to side − size, both included: I-JEPA's public code leaves
    out the upper end, so its targets never reach the last row and column.
    """
    rows, columns = (
        (corners[..., axis, None] * (side - size[axis] + 1) >> 30)
        + torch.arange(size[axis], device=corners.device)
        for axis in (0, 1)
    )
    return (rows[..., :, None] * side + columns[..., None, :]).flatten(2)


def _membership(cells: Tensor, side: int) -> Tensor:
    """(B, side²) bool: is a token in any of the blocks (B, n, h·w)."""
    flat = cells.flatten(1)
    inside = torch.zeros(len(cells), side * side, dtype=torch.bool, device=cells.device)
    return inside.scatter(1, flat, True)


def _size(side: int, scale: float, aspect: float) -> Size:
    """Height and width of a block in patches, at least 1 and at most the grid."""
    area = int(side * side * scale)
    height, width = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
    return min(max(height, 1), side), min(max(width, 1), side)


def _expected(table: MaskTable, side: int, context: Size, target: Size) -> int:
    """Mean number of tokens in the context block and in no target, to the nearest integer."""
    total = 0.0
    for row in range(side):
        for column in range(side):
            inside, hit = (
                _covered(row, size[0], side) * _covered(column, size[1], side)
                for size in (context, target)
            )
            total += inside * (1 - hit) ** table.targets
    return round(total)


def _covered(at: int, length: int, side: int) -> float:
    """Probability that a segment of ``length``, placed uniformly in [0, side), covers ``at``."""
    first, last = max(0, at - length + 1), min(at, side - length)
    return (last - first + 1) / (side - length + 1)
