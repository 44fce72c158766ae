"""Factors of generator 2: chances that sum to one, posteriors that are true, draws as they say."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from crbench.data.sources.synthetic.factors import SIZES, Factors, draw_factors
from crbench.data.sources.synthetic.grounds import TWIN_CLASSES

CLASSES = {name: list(world.grounds) for name, world in TWIN_CLASSES.items()}
ALIKE = {"a": [["Pasture", "HerbaceousVegetation"]], "b": [["River", "Highway"]]}


def single(count: int = 20_000, **changes: object) -> Factors:
    options = {"seed": 5, "alike": ALIKE, "change": 0.1, "imbalance": 3.0} | changes
    return draw_factors(
        CLASSES["cbrsir-vs"], TWIN_CLASSES["cbrsir-vs"], multi=False, name="x", count=count,
        **options,  # type: ignore[arg-type]
    )  # fmt: skip


def many(count: int = 20_000, change: float = 0.1) -> Factors:
    alike = {"a": [["Broad-leaved forest", "Mixed forest"]], "b": []}
    return draw_factors(
        CLASSES["ben-14k"], TWIN_CLASSES["ben-14k"], multi=True, seed=5, name="x", count=count,
        alike=alike, change=change, imbalance=1.0,
    )  # fmt: skip


def test_sets_of_classes_come_as_often_as_their_chance() -> None:
    """The chances against a literal simulation of the themes, and the draws against the chances."""
    factors, classes = many(), CLASSES["ben-14k"]
    assert factors.chance.sum() == pytest.approx(1)
    rng, themes = np.random.default_rng(0), TWIN_CLASSES["ben-14k"].themes
    shares = np.array([theme["share"] for theme in themes])
    seen: Counter[tuple[int, ...]] = Counter()
    for _ in range(20_000):
        weights = themes[rng.choice(len(shares), p=shares / shares.sum())]["weights"]
        size = min(len(weights), int(rng.choice([1, 2, 3, 4], p=SIZES)))
        p = np.array(list(weights.values())) / sum(weights.values())
        members = rng.choice([classes.index(c) for c in weights], size, replace=False, p=p)
        seen[tuple(sorted(members.tolist()))] += 1
    each = zip(factors.sets, factors.chance, strict=True)
    table = {tuple(np.flatnonzero(members).tolist()): p for members, p in each}
    assert seen.keys() <= table.keys()
    for members, count in seen.most_common(30):
        assert count / 20_000 == pytest.approx(table[members], abs=0.008)
    drawn = np.bincount(factors.drawn, minlength=len(factors.chance)) / 20_000
    assert np.abs(drawn - factors.chance).max() < 0.008


def test_frequencies_are_as_unequal_as_asked() -> None:
    factors = single()
    assert factors.chance.max() / factors.chance.min() == pytest.approx(3)
    counts = np.bincount(factors.drawn) / 20_000
    assert np.abs(counts - factors.chance).max() < 0.01
    assert np.ptp(single(imbalance=1.0).chance) == pytest.approx(0)
    assert factors.changed.mean() == pytest.approx(0.1, abs=0.01)
    assert (factors.later == factors.drawn)[~factors.changed].all()


@pytest.mark.parametrize("factors", [single(), many()], ids=["single", "multi"])
@pytest.mark.parametrize("modality", ["a", "b"])
def test_a_posterior_is_how_often_the_labels_are_so(factors: Factors, modality: str) -> None:
    """Of the pairs in which a sensor sees the same, the labels are distributed as it says."""
    posterior, (_, seen) = factors.posterior(modality), factors.seen(modality)
    np.testing.assert_allclose(posterior.sum(axis=1), 1)
    tested = 0
    for view, count in Counter(seen.tolist()).most_common(6):
        found = np.bincount(factors.drawn[seen == view], minlength=len(factors.chance)) / count
        assert np.abs(found - posterior[view]).max() < 4 / np.sqrt(count)
        tested += 1
    assert tested == 6


def test_what_looks_alike_is_seen_as_one_and_nothing_else() -> None:
    factors, classes = single(), CLASSES["cbrsir-vs"]
    river, road = classes.index("River"), classes.index("Highway")
    for modality, equal in (("a", False), ("b", True)):
        codes, _ = factors.seen(modality)
        assert (codes[river] == codes[road]) == equal
        assert len(set(codes.tolist())) == 9
    posterior, (codes, _) = factors.posterior("a"), factors.seen("a")
    assert posterior[codes[river], river] == 1
    weights = factors.chance[[river, road]] / factors.chance[[river, road]].sum()
    there = single(change=0.0)
    rows = there.posterior("b")[there.seen("b")[0][river], [river, road]]
    np.testing.assert_allclose(rows, weights)


def test_pairs_keep_their_factors_whatever_their_number() -> None:
    few, more = single(count=10), single(count=40)
    for name in ("drawn", "later", "changed"):
        assert getattr(few, name).tolist() == getattr(more, name)[:10].tolist()
    assert single(count=0).drawn.shape == (0,)
    other = replace(few, change=0.9)
    assert not np.allclose(other.posterior("b"), few.posterior("b"))
