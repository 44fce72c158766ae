"""Generator 2: random access, each key does what it says and leaves the other sensor alone."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from crbench.cards import load_dataset
from crbench.data.sources import Block, open_source
from crbench.data.sources.synthetic.second import twin_factors
from crbench.errors import UserError

TWINS = ["ben-14k-twin-2", "cbrsir-vs-twin-2", "dsrsid-twin-2"]
# SHA-256 of the first six pairs, as frozen after calibration, 2026-12-01.
GOLDEN = {
    "ben-14k-twin-2": "23b77c034343841d",
    "cbrsir-vs-twin-2": "747dc5635622da49",
    "dsrsid-twin-2": "f2217dee066e27fd",
}
PLAIN = ["season=0", "haze=0", "incidence=0", "moisture=0", "variety=0", "shift=0", "change=0"]


def block(name: str, *keys: str, count: int = 16) -> Block:
    sets = [f"source.{key}" for key in keys]
    return open_source(load_dataset(name, overrides=sets)).read(0, count)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", TWINS)
def test_any_range_of_rows_gives_the_same_pixels(name: str) -> None:
    card = load_dataset(name)
    source = open_source(card)
    whole = source.read(3, 9)
    for which in ("a", "b", "labels"):
        again = np.concatenate([getattr(source.read(r, r + 1), which) for r in range(3, 9)])
        np.testing.assert_array_equal(getattr(whole, which), again)
        if which != "labels":
            modality = card.modality(which)
            assert whole_shape(getattr(whole, which)) == (len(modality.bands), *modality.size)
            assert getattr(whole, which).dtype == np.dtype(modality.dtype)


def whole_shape(images: np.ndarray) -> tuple[int, ...]:
    assert np.isfinite(images).all() and images.std(axis=(2, 3)).min() > 0
    return images.shape[1:]


@pytest.mark.parametrize("name", TWINS)
def test_the_pixels_are_what_they_were(name: str) -> None:
    found = block(name, count=6)
    raw = found.a.tobytes() + found.b.tobytes() + found.labels.tobytes()
    assert hashlib.sha256(raw).hexdigest()[:16] == GOLDEN[name]


@pytest.mark.parametrize("name", TWINS)
def test_labels_are_those_of_the_factors(name: str) -> None:
    card = load_dataset(name)
    labels, factors = block(name).labels, twin_factors(card)
    expected = factors.sets[factors.drawn[:16]]
    if card.labels.kind == "single":
        expected = expected.argmax(axis=1)
    assert np.array_equal(labels, expected)


@pytest.mark.parametrize(
    ("key", "moved"),
    [("season=0", "b"), ("haze=0", "b"), ("noise=0", "b"), ("looks=9", "a"),
     ("incidence=0", "a"), ("moisture=0", "a"), ("shift=0", "b"), ("variety=0", "ab")],
)  # fmt: skip
def test_a_key_moves_its_sensor_alone(key: str, moved: str) -> None:
    """On the twin of BEN-14K a is radar and b optical; labels never move."""
    usual, other = block("ben-14k-twin-2", "shift=1"), block("ben-14k-twin-2", "shift=1", key)
    if key.startswith("shift"):  # the scene is drawn without a margin, so that a differs as well
        assert not np.array_equal(usual.b, other.b)
        return
    for which in "ab":
        same = np.array_equal(getattr(usual, which), getattr(other, which))
        assert same == (which not in moved), which
    assert np.array_equal(usual.labels, other.labels)


def test_classes_that_look_alike_have_equal_pixels_and_others_do_not() -> None:
    """Two scenes with the same draws that differ in such a class alone: a cannot tell, b can."""
    base = load_dataset("cbrsir-vs-twin-2", overrides=[f"source.{key}" for key in PLAIN])
    factors = twin_factors(base)
    names = base.labels.classes
    row = int(np.flatnonzero(factors.drawn == names.index("Residential"))[0])
    for alike, equal in (('[["Industrial", "Residential"]]', True), ("[]", False)):
        keys = [*PLAIN, f"alike_a={alike}", "alike_b=[]"]
        one = load_dataset("cbrsir-vs-twin-2", overrides=[f"source.{key}" for key in keys])
        swapped = names.copy()  # the same draw is the other class
        i, j = names.index("Residential"), names.index("Industrial")
        swapped[i], swapped[j] = names[j], names[i]
        labels = one.labels.model_copy(update={"classes": swapped})
        other = one.model_copy(update={"labels": labels})
        mine, theirs = (open_source(card).read(row, row + 1) for card in (one, other))
        assert np.array_equal(mine.a, theirs.a) == equal
        assert not np.array_equal(mine.b, theirs.b)


def test_what_changed_is_another_scene_for_b_and_none_for_a() -> None:
    name = "dsrsid-twin-2"
    usual, all_changed = block(name, "change=0"), block(name, "change=0.9")
    changed = twin_factors(load_dataset(name, overrides=["source.change=0.9"])).changed[:16]
    assert changed.any() and np.array_equal(usual.a, all_changed.a)
    same = [np.array_equal(x, y) for x, y in zip(usual.b, all_changed.b, strict=True)]
    assert same == (~changed).tolist()


def alike(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.corrcoef(x.ravel(), y.ravel())[0, 1])


def test_a_shift_moves_b_by_at_most_so_much() -> None:
    """The best match of PAN with MS by whole pixels of MS lies within the shift, and is moved."""
    keys = [*PLAIN[:5], "change=0", "noise=0", "clutter=0.2", "alike_a=[]", "alike_b=[]"]
    found = block("dsrsid-twin-2", *keys, "shift=3", count=24)
    offsets = []
    for pan, ms in zip(found.a[:, 0].astype(float), found.b.astype(float).mean(1), strict=True):
        small = pan.reshape(32, 4, 32, 4).mean((1, 3))
        inner = small[6:-6, 6:-6]
        errors = {
            (dy, dx): alike(inner, ms[6 + dy : 26 + dy, 6 + dx : 26 + dx])
            for dy in range(-5, 6)
            for dx in range(-5, 6)
        }
        offsets.append(max(errors, key=lambda at: errors[at]))
    away = np.abs(np.array(offsets))
    assert np.median(away.max(1)) >= 1 and (away.max(1) <= 3).mean() > 0.8


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("source.haze=9", "haze"), ("source.change=1", "change"), ("source.looks=0", "looks"),
        ("source.generator=3", "generator 3"), ("source.world=mars", "mars"),
        ('source.alike_a=[["River", "Moon"]]', "Moon"),
        ('source.alike_a=[["River", "Pasture"]]', "different forms"),
        ('source.alike_a=[["River", "Highway"], ["Highway", "River"]]', "two groups"),
    ],
)  # fmt: skip
def test_bad_cards_are_refused_by_name(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_source(load_dataset("cbrsir-vs-twin-2", overrides=[override]))
