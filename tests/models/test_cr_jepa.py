"""CR-JEPA: exact budgets, every variant by card keys, no leaks, no work that nothing reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from crbench.cards import load_method
from crbench.errors import UserError
from crbench.models.base import Step, count
from crbench.models.cr_jepa import CRJEPA
from crbench.models.losses import infonce
from crbench.models.predictors import SHARING
from crbench.models.registry import build_method
from crbench.words import DIRECTIONS

STEP = Step(index=7, epoch=1, total=100, seed=0)
DUAL = ("model.encoder=dual", 'model.retrieval_heads=["uni"]', "loss.cross=0", "loss.sig_pair=0.02")
THREE = ('model.retrieval_heads=["same", "cross", "uni"]', "loss.same=1.0")
SMALL = (
    "model.patch_size=8",
    "model.width=32",
    "model.depth=1",
    "model.head_hidden=16",
    "model.retrieval_dim=8",
)


def at_paper_scale(*overrides: str) -> CRJEPA:
    with torch.device("meta"):
        model = build_method(load_method("cr-jepa", overrides=overrides), {"a": 2, "b": 12})
    assert isinstance(model, CRJEPA)
    return model


def small(*overrides: str, seed: int = 0) -> CRJEPA:
    torch.manual_seed(seed)
    card = load_method("cr-jepa", scale="tiny", overrides=(*SMALL, *overrides))
    model = build_method(card, {"a": 2, "b": 3})
    assert isinstance(model, CRJEPA)
    return model


def pairs(size: int = 6) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    image = [torch.randn(size, c, 32, 32, generator=generator) for c in (2, 3)]
    return {"a": image[0], "b": image[1], "keys": torch.arange(size) * 104729}


def trainable(model: torch.nn.Module) -> int:
    return count(p for p in model.parameters() if p.requires_grad)


# ------------------------------------------------------------------ budgets


def test_published_budget() -> None:
    model = at_paper_scale()
    assert trainable(model) == count(model.parameters()) == 117_929_472
    assert {name: count(part.parameters()) for name, part in model.parts().items()} == {
        "stems.a": 363_008,
        "stems.b": 1_673_728,
        "trunks.ab": 37_829_632,
        "predictors.aa": 25_494_528,
        "predictors.bb": 25_494_528,
        "predictors.cross": 25_494_528,
        "heads.cross": 789_760,
        "heads.uni": 789_760,
    }
    assert count(model.inference_parameters()) == 41_445_888


def test_dual_encoder_budget() -> None:
    model = at_paper_scale(*DUAL)
    assert trainable(model) == 154_768_640
    assert not any(stem.positions.requires_grad for stem in model.stems.values())
    assert set(model.heads) == {"uni"}


def test_tiny_is_tiny() -> None:
    model = build_method(load_method("cr-jepa", scale="tiny"), {"a": 2, "b": 12})
    assert 0.7e6 < trainable(model) < 1.2e6


def test_random_is_the_same_architecture_untrained() -> None:
    for scale in ("paper", "tiny"):
        card, method = load_method("random", scale=scale), load_method("cr-jepa", scale=scale)
        assert (card.model, card.loss) == (method.model, method.loss)
        assert card.train.epochs == 0 and method.train.epochs > 0
        assert card.kind == "floor"


# ------------------------------------------------------------------ variants

# the routes that go through one predictor, by strategy, as the paper's table S3 names them
TOGETHER = {
    "independent": ["aa", "ab", "ba", "bb"],
    "same+cross": ["aa bb", "ab ba"],
    "one": ["aa ab ba bb"],
    "same+own-cross": ["aa bb", "ab", "ba"],
    "own-same+cross": ["aa", "ab ba", "bb"],
}
VARIANTS: dict[str, Sequence[str]] = {
    "default": (),
    "mask 0.25": ("model.mask_ratio=0.25",),
    "mask 0.75": ("model.mask_ratio=0.75",),
    "one mask per pair": ("model.mask_pairing=shared",),
    "deeper predictor": ("model.predictor_depth=3",),
    "no prediction": ("loss.pred=0",),
    "no cross": ("loss.cross=0",),
    "no uni": ("loss.uni=0",),
    "no sigreg": ("loss.sig=0",),
    "prediction only": ("loss.cross=0", "loss.uni=0", "loss.sig=0"),
    "one route": ("loss.routes.aa=0", "loss.routes.bb=0", "loss.routes.ba=0"),
    "live targets": ("loss.targets=live",),
    "three heads": THREE,
    "same and cross": ('model.retrieval_heads=["same", "cross"]', "loss.same=1", "loss.uni=0"),
    "single head": ('model.retrieval_heads=["uni"]', "loss.cross=0"),
    "dual": DUAL,
    "temperature, directions, knots": (
        "loss.temperature=0.5",
        "loss.sig_directions=8",
        "loss.sig_knots=5",
    ),
    **{f"sharing {name}": (f"model.predictor_sharing={name}",) for name in SHARING},
}


@pytest.mark.parametrize("overrides", VARIANTS.values(), ids=VARIANTS.keys())
def test_variant_trains_every_parameter_it_has(overrides: Sequence[str]) -> None:
    model, batch = small(*overrides), pairs()
    terms = model.loss(batch, STEP)
    terms["loss"].backward()
    assert terms["loss"].dtype == torch.float32 and terms["loss"].isfinite()
    without = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert without == []
    before = [p.detach().clone() for p in model.parameters()]
    torch.optim.SGD(model.parameters(), lr=0.1).step()
    moved = sum(not torch.equal(x, p) for x, p in zip(before, model.parameters(), strict=True))
    assert moved > 10
    views = model.embed(batch["a"], "a")
    assert {v.shape for v in views.values()} == {(6, 8)}
    assert {model.view(d[0], d, "query") for d in DIRECTIONS} <= set(views)  # type: ignore[arg-type]


def test_variants_differ_from_the_default_in_their_loss() -> None:
    """A key that changes nothing would be no ablation (SIGReg's own keys included)."""
    value = {n: float(small(*keys).loss(pairs(), STEP)["loss"]) for n, keys in VARIANTS.items()}
    default = value.pop("default")
    equal = {name for name, v in value.items() if v == pytest.approx(default, rel=1e-6)}
    # the first is the default by another name, the second differs in its gradient only
    assert equal == {"sharing own-same+cross", "live targets"}


def test_loss_is_the_weighted_sum_of_its_terms() -> None:
    weights = {"cross": 0.5, "uni": 2.0, "same": 0.7, "sig": 0.03, "sig_pair": 0.01}
    routes = {"aa": 1.0, "bb": 0.2, "ab": 3.0, "ba": 0.1}
    keys = [f"loss.{name}={weight}" for name, weight in weights.items()]
    keys += [f"loss.routes.{name}={weight}" for name, weight in routes.items()]
    terms = small(*THREE, *keys, "loss.pred=0.9").loss(pairs(), STEP)
    expected = sum(weight * float(terms[name]) for name, weight in weights.items())
    expected += sum(0.9 * weight * float(terms[f"pred_{r}"]) for r, weight in routes.items())
    assert set(terms) == {"loss", *weights, *(f"pred_{r}" for r in routes)}
    assert float(terms["loss"]) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("strategy", SHARING)
def test_sharing_strategies_build_their_predictors(strategy: str) -> None:
    model = small(f"model.predictor_sharing={strategy}")
    groups = {
        name: [r for r in sorted(DIRECTIONS) if model.serves[r] == name]
        for name in model.predictors
    }
    assert sorted(" ".join(routes) for routes in groups.values()) == TOGETHER[strategy]


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ((), {"aa": "uni", "bb": "uni", "ab": "cross", "ba": "cross"}),
        (("loss.uni=0",), dict.fromkeys(DIRECTIONS, "cross")),
        (("loss.cross=0",), dict.fromkeys(DIRECTIONS, "uni")),
        (
            ("loss.cross=0", "loss.uni=0"),
            {"aa": "uni", "bb": "uni", "ab": "cross", "ba": "cross"},
        ),
        (THREE, {"aa": "same", "bb": "same", "ab": "cross", "ba": "cross"}),
        ((*THREE, "loss.cross=0"), {"aa": "same", "bb": "same", "ab": "uni", "ba": "uni"}),
        (DUAL, dict.fromkeys(DIRECTIONS, "uni")),
    ],
)
def test_which_head_serves(overrides: Sequence[str], expected: dict[str, str]) -> None:
    model = small(*overrides)
    for role in ("query", "gallery"):
        assert {d: model.view(d[0], d, role) for d in DIRECTIONS} == expected  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "overrides",
    [
        ('model.retrieval_heads=["uni"]',),
        ("loss.same=1",),
        ("loss.pred=0", "loss.cross=0", "loss.uni=0", "loss.sig=0"),
        ("model.patch_size=5",),
        ("model.mask_ratio=1.0",),
        ("model.predictor_sharing=none",),
        ("loss.temperature=0",),
    ],
)
def test_cards_that_contradict_themselves_are_refused(overrides: Sequence[str]) -> None:
    with pytest.raises(UserError):
        small(*overrides)


# ------------------------------------------------------------------ what is seen and encoded


class Spy:
    """The tokens that enter and leave the trunk(s), call by call."""

    def __init__(self, model: CRJEPA) -> None:
        self.inputs: list[Tensor] = []
        self.outputs: list[Tensor] = []
        for trunk in model.trunks.values():
            trunk.register_forward_hook(self._see)

    def _see(self, _module: object, args: tuple[Tensor, ...], output: Tensor) -> None:
        self.inputs.append(args[0].detach())
        self.outputs.append(output.detach())


def test_targets_never_leak_into_the_context() -> None:
    model, batch = small(), pairs()
    clean = Spy(model)
    model.loss(batch, STEP)
    marked = {name: value.clone() for name, value in batch.items()}
    hidden = model._split(batch["keys"], STEP, "b").hidden
    for sample, token in enumerate(hidden[:, 0].tolist()):  # one hidden 8×8 patch of each b
        row, column = divmod(token, 4)
        marked["b"][sample, :, row * 8 : row * 8 + 8, column * 8 : column * 8 + 8] = 1e3
    dirty = Spy(model)
    model.loss(marked, STEP)
    assert len(clean.outputs) == 2 + 2 and len(dirty.outputs) == 2  # the first spy saw both
    context, target = (not torch.equal(clean.outputs[i], dirty.outputs[i]) for i in (0, 1))
    assert not context
    assert target  # the marker did reach the targets, or the test would show nothing


@pytest.mark.parametrize(
    ("overrides", "token_counts"),
    [
        ((), [12 * 8, 12 * 8]),  # visible of both modalities at once, hidden of both at once
        (("model.mask_ratio=0.25",), [12 * 12, 12 * 4]),
        (("loss.pred=0",), [12 * 8]),
        (("loss.routes.ab=0", "loss.routes.bb=0"), [12 * 8, 6 * 8]),
        (
            ("loss.cross=0", "loss.uni=0", "loss.sig=0", "loss.routes.ba=0", "loss.routes.bb=0"),
            [6 * 8, 12 * 8],
        ),
        (DUAL, [6 * 8, 6 * 8, 6 * 8, 6 * 8]),
    ],
)
def test_nothing_is_encoded_that_no_loss_reads(
    overrides: Sequence[str], token_counts: list[int]
) -> None:
    model = small(*overrides)
    spy = Spy(model)
    model.loss(pairs(), STEP)
    assert [tokens.shape[:2].numel() for tokens in spy.inputs] == token_counts


@pytest.mark.parametrize(("targets", "gradient"), [("detached", False), ("live", True)])
def test_gradient_of_the_targets(targets: str, gradient: bool) -> None:
    """Only b is predicted and nothing pooled, so b's stem learns through its targets alone."""
    keys = ["loss.cross=0", "loss.uni=0", "loss.sig=0", "loss.routes.aa=0", "loss.routes.bb=0"]
    model = small(*keys, "loss.routes.ba=0", f"loss.targets={targets}")
    model.loss(pairs(), STEP)["loss"].backward()
    assert (model.stems["b"].patches.proj.weight.grad is not None) == gradient
    assert model.stems["b"].positions.grad is not None  # the predictor's target positions


def test_the_loss_of_a_same_head_takes_its_copy_as_it_is() -> None:
    """NCE(e, sg(e)): the gradient is that of the first argument alone."""
    model = small(*THREE, "loss.pred=0", "loss.cross=0", "loss.uni=0", "loss.sig=0")
    seen: list[Tensor] = []
    for name in ("same_a", "same_b"):
        model.heads[name].register_forward_hook(lambda _m, _i, out: seen.append(out))
    loss = model.loss(pairs(), STEP)["loss"]
    found = torch.autograd.grad(loss, seen)
    temperature = model.config.loss.temperature
    for raw, gradient in zip(seen, found, strict=True):
        alone = raw.detach().requires_grad_()
        (expected,) = torch.autograd.grad(infonce(alone, alone.detach(), temperature), alone)
        torch.testing.assert_close(gradient, expected)


def test_sigreg_looks_along_other_directions_at_every_step_the_same_on_every_rank() -> None:
    """Masks follow the epoch, so that between two steps nothing else changes."""
    model, batch = small("loss.pred=0", "loss.cross=0", "loss.uni=0"), pairs()
    values = []
    for index, drawn in ((7, 0), (7, 99), (8, 0)):
        torch.manual_seed(drawn)  # whatever else has drawn on this rank
        values.append(float(model.loss(batch, replace(STEP, index=index))["sig"]))
    assert values[0] == values[1] != values[2]


def test_three_heads_keep_modalities_apart() -> None:
    model = small(*THREE)
    images = pairs()["a"]
    before = model.embed(images, "a")["same"]
    with torch.no_grad():
        for parameter in model.heads["same_b"].parameters():
            parameter.add_(1.0)
    assert torch.equal(before, model.embed(images, "a")["same"])


def test_loss_does_not_depend_on_the_order_of_the_batch() -> None:
    """Masks go with the key; the losses are means over the batch."""
    model, batch = small(), pairs()
    order = torch.tensor([3, 1, 5, 0, 4, 2])
    shuffled = {name: value[order] for name, value in batch.items()}
    straight, mixed = (float(model.loss(x, STEP)["loss"]) for x in (batch, shuffled))
    assert straight == pytest.approx(mixed, rel=1e-5)
