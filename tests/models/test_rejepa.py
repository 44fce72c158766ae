"""REJEPA: exact budgets, targets and gradients, what its cards may say."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from crbench.cards import load_method
from crbench.errors import UserError
from crbench.models.base import Step, count
from crbench.models.encoder import pool
from crbench.models.masking import draw_blocks
from crbench.models.registry import build_method
from crbench.models.rejepa import REJEPA

BANDS = {"a": 2, "b": 12}
STEP = Step(3, 0, 100, 0)


def tiny(*overrides: str) -> REJEPA:
    torch.manual_seed(0)
    model = build_method(load_method("rejepa", scale="tiny", overrides=overrides), BANDS)
    assert isinstance(model, REJEPA)
    return model


def batch(n: int = 8) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = {m: torch.randn(n, c, 32, 32, generator=generator) for m, c in BANDS.items()}
    return {**images, "keys": torch.arange(n) * 7919}


@pytest.mark.parametrize(
    ("modalities", "total", "encoder"),
    [("b", 197_094_144, 87_566_592), ("ab", 197_882_112, 87_960_576)],
)
def test_budget_on_ben_14k(modalities: str, total: int, encoder: int) -> None:
    with torch.device("meta"):
        card = load_method("rejepa", overrides=[f"model.modalities={modalities}"])
        model = build_method(card, BANDS)
    parts = {name: count(part.parameters()) for name, part in model.parts().items()}
    assert parts == {"context": encoder, "target": encoder, "predictor": 21_960_960}
    assert count(model.parameters()) == total
    assert count(model.inference_parameters()) == encoder


def test_loss_is_the_weighted_sum_of_its_terms() -> None:
    model = tiny("loss.pred=2.0", "loss.covariance=3.0")
    out = model.loss(batch(), STEP)
    weights = model.config.loss
    names = ("pred", "invariance", "variance", "covariance")
    assert set(out) == {"loss", *names}
    expected = sum(getattr(weights, name) * out[name].item() for name in names)
    assert out["loss"].item() == pytest.approx(expected, rel=1e-5)


def test_the_adapted_form_pulls_the_predictions_of_a_pair_together() -> None:
    """Its term is 0 where both sides predict the same, and its gradient brings them closer."""
    torch.manual_seed(0)
    model = build_method(load_method("rejepa-paired", scale="tiny"), BANDS)
    assert isinstance(model, REJEPA) and model.config.loss.paired == 5.0
    data = batch()
    sides = [model._terms(data, m, STEP)[1] for m in "ab"]
    by_hand = ((sides[0] - sides[1]) ** 2).mean().item()
    out = model.loss(data, STEP)
    assert out["paired"].item() == pytest.approx(by_hand, rel=1e-5) and by_hand > 0
    names = ("pred", "invariance", "variance", "covariance", "paired")
    expected = sum(getattr(model.config.loss, name) * out[name].item() for name in names)
    assert out["loss"].item() == pytest.approx(expected, rel=1e-5)
    optimiser = torch.optim.SGD(model.context.parameters(), lr=0.05)
    for _ in range(5):
        optimiser.zero_grad()
        model.loss(data, STEP)["paired"].backward()
        optimiser.step()
    assert model.loss(data, STEP)["paired"].item() < by_hand
    with pytest.raises(UserError, match="sees one"):
        tiny("model.modalities=b", "loss.paired=1.0")


def test_prediction_term_equals_a_sample_by_sample_computation() -> None:
    model = tiny("model.modalities=b").eval()
    with torch.no_grad():  # as after training: at the start all tokens are alike, and normalised
        for parameter in model.context.trunk.parameters():
            parameter.mul_(4.0)
        model.target.trunk.norm.weight.mul_(3.0)
        model.target.trunk.norm.bias.add_(0.5)
    data = batch(4)
    table = model.config.model
    blocks = draw_blocks(table.masks, table.side, data["keys"], STEP, stream="b")
    losses = []
    for i in range(4):
        image = data["b"][i : i + 1]
        full = model.target(image, "b")[0]
        goal = (full - full.mean(-1, keepdim=True)) / (
            full.var(-1, correction=0, keepdim=True) + 1e-5
        ).sqrt()
        seen = blocks.context[i][blocks.valid[i]]
        tokens = (model.context.stems["b"](image) + model.context.positions)[:, seen]
        context = model.context.trunk(tokens)
        for cells in blocks.targets[i]:
            predictor = model.predictor
            entered = predictor.enter(context) + predictor.positions[:, seen]
            queries = predictor.mask_token + predictor.positions[:, cells]
            hidden = predictor.trunk(torch.cat([entered, queries], 1))[0, len(seen) :]
            losses.append(F.smooth_l1_loss(predictor.leave(hidden), goal[cells]))
    expected = torch.stack(losses).mean().item()
    assert model.loss(data, STEP)["pred"].item() == pytest.approx(expected, rel=1e-4)


def test_targets_never_leak_into_the_context() -> None:
    """A marker in a patch that is to be predicted moves its target and no token of the context."""
    model = tiny("model.modalities=b")
    data, table = batch(), model.config.model
    blocks = draw_blocks(table.masks, table.side, data["keys"], STEP, stream="b")
    marked, side = {**data, "b": data["b"].clone()}, table.patch_size
    for sample, token in enumerate(blocks.targets[:, 0, 0].tolist()):
        row, column = (side * k for k in divmod(token, table.side))
        marked["b"][sample, :, row : row + side, column : column + side] = 1e3
    seen: dict[str, list[torch.Tensor]] = {"context": [], "target": [], "predictor": []}
    for name, outputs in seen.items():
        getattr(model, name).register_forward_hook(
            lambda _m, _i, out, outputs=outputs: outputs.append(out.detach())
        )
    for images in (data, marked):
        model.loss(images, STEP)
    clean, dirty = seen["context"]
    assert torch.equal(clean[blocks.valid], dirty[blocks.valid])
    assert torch.equal(*seen["predictor"])
    assert not torch.equal(*seen["target"])  # or the test would show nothing


def test_gradients_reach_all_that_trains_and_no_target() -> None:
    model = tiny()
    model.loss(batch(), STEP)["loss"].backward()
    for name, parameter in model.named_parameters():
        fixed = name.startswith("target.") or name.endswith("positions")
        assert parameter.requires_grad != fixed, name
        assert (parameter.grad is None) == fixed, name


def test_after_step_moves_the_target_towards_the_context() -> None:
    model = tiny()
    with torch.no_grad():
        model.context.trunk.norm.bias.add_(1.0)
    model.after_step(Step(50, 0, 100, 0))  # halfway from 0.95 to 1
    moved = model.target.trunk.norm.bias
    torch.testing.assert_close(moved, torch.full_like(moved, 0.025))
    torch.testing.assert_close(model.target.positions, model.context.positions)


def test_loss_depends_neither_on_the_order_of_a_batch_nor_on_the_epoch_alone() -> None:
    model = tiny().eval()
    data = batch()
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    first = model.loss(data, STEP)["loss"].item()
    shuffled = model.loss({name: value[order] for name, value in data.items()}, STEP)
    assert shuffled["loss"].item() == pytest.approx(first, rel=1e-5)
    other = model.loss(data, Step(3, 1, 100, 0))["loss"].item()
    assert other != pytest.approx(first, rel=1e-5)


def test_descriptor_is_the_mean_of_the_target_encoders_tokens() -> None:
    model = tiny()
    with torch.no_grad():
        model.context.trunk.norm.bias.add_(1.0)  # must not show
    images = batch()["a"]
    found = model.embed(images, "a")
    assert list(found) == ["encoder"] and found["encoder"].dtype == torch.float32
    torch.testing.assert_close(found["encoder"], pool(model.target(images, "a")))
    assert {model.view(d[0], d, "query") for d in ("aa", "bb", "ab", "ba")} == {"encoder"}  # type: ignore[arg-type]


def test_a_model_of_one_modality_says_so_when_asked_for_the_other() -> None:
    model = tiny("model.modalities=b")
    assert model.embed(batch()["b"], "b")["encoder"].shape == (8, 96)
    with pytest.raises(UserError, match="modality 'b' alone"):
        model.embed(batch()["a"], "a")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.patch_size=5", "multiple of patch_size"),
        ("model.num_heads=5", "multiple of num_heads"),
        ("model.masks.min_context=64", "exceed the 64 tokens"),
        ("model.modalities=c", "modalities"),
        ("loss.pred=-1.0", "pred"),
    ],
)
def test_what_a_card_may_not_say(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        tiny(override)


def test_mixed_precision_gives_finite_fp32_losses() -> None:
    model = tiny()
    with torch.autocast("cpu", torch.bfloat16):
        out = model.loss(batch(), STEP)
    assert all(v.dtype == torch.float32 and v.isfinite() for v in out.values())
