"""The shared transformer parts: positions, masks, heads, and the tables that are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pydantic import ValidationError

from crbench.models.vit import Stem, Trunk, ViTTable, gather, retrieval_head, sincos_positions

SHAPE: dict[str, Any] = {
    "image_size": 16, "patch_size": 4, "width": 16, "depth": 2, "num_heads": 2, "mlp_ratio": 2.0,
    "predictor_depth": 1,
}  # fmt: skip


@pytest.mark.parametrize(
    ("key", "value"), [("patch_size", 5), ("num_heads", 3), ("width", 18), ("depth", 0)]
)
def test_a_shape_that_does_not_divide_is_refused(key: str, value: int) -> None:
    with pytest.raises(ValidationError):
        ViTTable(**SHAPE | {key: value})


def test_a_token_is_its_patch_and_its_position() -> None:
    torch.manual_seed(0)
    images = torch.randn(2, 3, 16, 16)
    bare, learned, fixed = (Stem(3, 16, 16, 4, kind) for kind in ("none", "learned", "sincos"))
    assert bare.positions is None and bare(images).shape == (2, 16, 16)
    assert learned.positions is not None and fixed.positions is not None
    assert learned.positions.requires_grad and not fixed.positions.requires_grad
    torch.testing.assert_close(fixed.positions, sincos_positions(4, 16))
    torch.testing.assert_close(learned(images), learned.patches(images) + learned.positions)
    other = images.clone()
    other[:, :, 4:8, 8:12] += 1.0  # row 1, column 2 of patches: token 6, counted row by row
    moved = (bare(images) != bare(other)).any(-1).any(0)
    assert moved.nonzero().flatten().tolist() == [6]


def test_positions_differ_between_all_tokens() -> None:
    places = sincos_positions(7, 16)[0]
    assert places.shape == (49, 16) and places.dtype == torch.float32
    assert torch.unique(places, dim=0).shape[0] == 49
    assert float(places.abs().max()) <= 1.0


def test_tokens_that_a_mask_leaves_out_change_nothing() -> None:
    torch.manual_seed(0)
    trunk, tokens = Trunk(16, 2, 2), torch.randn(2, 6, 16)
    mask = torch.tensor([True] * 4 + [False] * 2)[None, None, None, :]
    torch.testing.assert_close(trunk(tokens, mask)[:, :4], trunk(tokens[:, :4]))
    assert not torch.allclose(trunk(tokens)[:, :4], trunk(tokens[:, :4]), atol=1e-3)


def test_gather_takes_rows_of_each_sample_or_of_one_for_all() -> None:
    tokens, at = torch.arange(24.0).view(2, 4, 3), torch.tensor([[3, 0], [1, 1]])
    expected = torch.stack([tokens[i][at[i]] for i in range(2)])
    assert torch.equal(gather(tokens, at), expected)
    assert torch.equal(gather(tokens[:1], at), torch.stack([tokens[0][at[i]] for i in range(2)]))


def test_a_head_has_the_published_number_of_parameters() -> None:
    head = retrieval_head(384, 1024, 384)
    expected = 384 * 1024 + 1024 + 2 * 1024 + 1024 * 384 + 384
    assert sum(p.numel() for p in head.parameters()) == expected
    assert all(not head[i].bias.any() for i in (0, 3))


def test_a_head_of_unit_scale_starts_with_a_mean_square_of_one() -> None:
    """With the small weights of the other the same inputs come out near zero, in proportion."""
    heads = {}
    for init in ("small", "unit"):
        torch.manual_seed(0)
        heads[init] = retrieval_head(64, 1024, 512, init)  # type: ignore[arg-type]
    x = torch.randn(256, 64)
    with torch.no_grad():
        small, unit = (head(x) for head in heads.values())
    assert unit.square().mean().item() == pytest.approx(1, rel=0.05)
    assert small.square().mean().item() < 0.2
    torch.testing.assert_close(unit / unit.norm(), small / small.norm())
