"""X-JEPA: budgets, the predictor's equations, what serves a query, hidden stays hidden."""

from __future__ import annotations

import pytest
import torch

from crbench.cards import load_method
from crbench.models.base import Step, count
from crbench.models.encoder import normalised
from crbench.models.masking import draw_blocks
from crbench.models.registry import build_method
from crbench.models.x_jepa import XJEPA
from crbench.words import MODALITIES

BANDS = {"a": 2, "b": 12}
STEP = Step(3, 0, 100, 0)


def tiny(*overrides: str) -> XJEPA:
    torch.manual_seed(0)
    model = build_method(load_method("x-jepa", scale="tiny", overrides=overrides), BANDS)
    assert isinstance(model, XJEPA)
    return model


def batch(n: int = 8) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = {m: torch.randn(n, c, 32, 32, generator=generator) for m, c in BANDS.items()}
    return {**images, "keys": torch.arange(n) * 7919}


def test_encoders_of_the_published_budget_on_ben_14k() -> None:
    with torch.device("meta"):
        model = build_method(load_method("x-jepa"), BANDS)
    parts = {name: count(part.parameters()) for name, part in model.parts().items()}
    assert parts["encoders.a"] == 85_449_984 and parts["encoders.b"] == 87_416_064
    assert parts["encoders.a"] + parts["encoders.b"] == 172_866_048
    assert parts["targets.a"] + parts["targets.b"] == 172_866_048
    assert count(model.parameters()) == sum(parts.values()) + 768  # the shared query


def test_loss_is_the_weighted_sum_of_its_terms() -> None:
    model = tiny("loss.l2=2.0", "loss.psa=0.3")
    out = model.loss(batch(), STEP)
    names = ("l2", "psa", "invariance", "variance", "covariance")
    assert set(out) == {"loss", *names}
    expected = sum(getattr(model.config.loss, name) * out[name].item() for name in names)
    assert out["loss"].item() == pytest.approx(expected, rel=1e-5)


def test_predictor_is_the_papers_equations() -> None:
    model = tiny()
    predictor, block = model.predictors["a"], model.predictors["a"].blocks[0]
    queries, tokens, context = (torch.randn(3, n, 96) for n in (5, 7, 9))
    joined = torch.cat([queries, tokens], 1)
    h1 = block.self_attention(block.norm_self(joined)) + joined
    h2 = block.cross_attention(block.norm_query(h1), block.norm_context(context)) + h1
    expected = block.mlp(block.norm_mlp(h2))[:, :5] + predictor.mask_token
    torch.testing.assert_close(predictor(queries, tokens, context), expected)


@pytest.mark.parametrize("depth", [1, 2])
def test_filled_up_context_does_not_reach_the_prediction(depth: int) -> None:
    predictor = tiny(f"model.predictor_depth={depth}").predictors["a"]
    queries, tokens = torch.randn(3, 5, 96), torch.randn(3, 7, 96)
    valid = torch.ones(3, 7, dtype=torch.bool)
    valid[:, 4:] = False
    torch.testing.assert_close(
        predictor(queries, tokens, tokens, valid),
        predictor(queries, tokens[:, :4], tokens[:, :4]),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize(("cross_context", "sees"), [("query", False), ("target", True)])
def test_what_a_prediction_of_b_sees_of_b(cross_context: str, sees: bool) -> None:
    model = tiny(f"model.cross_context={cross_context}", "loss.invariance=0.0")
    data = batch()
    table = model.config.model
    blocks = draw_blocks(table.masks, table.side, data["keys"], STEP)
    hidden = torch.zeros(8, 16).scatter(1, blocks.targets.flatten(1), 1.0).view(8, 1, 4, 4)
    hidden = hidden.repeat_interleave(8, 2).repeat_interleave(8, 3)
    seen: list[torch.Tensor] = []
    model.predictors["a"].register_forward_hook(lambda _m, _i, out: seen.append(out.detach()))
    model.loss(data, STEP)
    model.loss({**data, "b": data["b"] + 3 * hidden}, STEP)  # targets of b only
    model.loss({**data, "b": data["b"] + 3 * (1 - hidden)}, STEP)  # context of b only
    assert torch.equal(seen[0], seen[1])  # what is to be predicted is never seen
    assert torch.equal(seen[0], seen[2]) != sees


def test_gradients_reach_all_that_trains_and_no_target() -> None:
    model = tiny()
    model.loss(batch(), STEP)["loss"].backward()
    for name, parameter in model.named_parameters():
        fixed = name.startswith("targets.")
        assert parameter.requires_grad != fixed, name
        assert (parameter.grad is None) == fixed, name


def test_after_step_moves_the_targets() -> None:
    model = tiny()
    with torch.no_grad():
        for m in MODALITIES:
            model.encoders[m].trunk.norm.bias.add_(1.0)
    model.after_step(Step(0, 0, 100, 0))
    for m in MODALITIES:
        moved = model.targets[m].trunk.norm.bias
        torch.testing.assert_close(moved, torch.full_like(moved, 0.05))


def test_a_cross_modal_query_is_its_predicted_embedding_treated_like_the_gallery() -> None:
    model = tiny()
    images = batch()["a"]
    views = model.embed(images, "a")
    tokens = model.encoders["a"](images, "a")
    queries = (model.query + model.encoders["a"].positions).expand(8, -1, -1)
    predicted = model.predictors["a"](queries, tokens, tokens)
    torch.testing.assert_close(views["encoder"], normalised(tokens).mean(1))
    torch.testing.assert_close(views["predicted"], normalised(predicted).mean(1))
    assert [model.view(m, d, r) for m, d, r in (("a", "ab", "query"), ("b", "ba", "query"))] == [  # type: ignore[arg-type]
        "predicted"
    ] * 2
    others = (("b", "ab", "gallery"), ("a", "ba", "gallery"), ("a", "aa", "query"))
    assert {model.view(m, d, r) for m, d, r in others} == {"encoder"}  # type: ignore[arg-type]


def test_retrieval_by_encoders_needs_no_predictor() -> None:
    model = tiny("model.retrieval=encoder")
    assert list(model.embed(batch()["b"], "b")) == ["encoder"]
    assert model.view("a", "ab", "query") == "encoder"
    assert count(model.inference_parameters()) == count(model.encoders.parameters())


def test_weights_choose_the_encoders_that_embed() -> None:
    for weights, moves in (("online", True), ("ema", False)):
        model = tiny(f"model.weights={weights}")
        before = model.embed(batch()["a"], "a")["encoder"]
        with torch.no_grad():
            model.encoders["a"].trunk.blocks[0].mlp.fc2.weight.mul_(3.0)
        after = model.embed(batch()["a"], "a")["encoder"]
        assert torch.equal(before, after) != moves


def test_loss_does_not_depend_on_the_order_of_a_batch() -> None:
    model = tiny()
    data = batch()
    order = torch.randperm(8, generator=torch.Generator().manual_seed(0))
    first = model.loss(data, STEP)["loss"].item()
    again = model.loss({name: value[order] for name, value in data.items()}, STEP)["loss"].item()
    assert again == pytest.approx(first, rel=1e-5)


def test_mixed_precision_gives_finite_fp32_losses() -> None:
    with torch.autocast("cpu", torch.bfloat16):
        out = tiny().loss(batch(), STEP)
    assert all(v.dtype == torch.float32 and v.isfinite() for v in out.values())
