"""What a scene of generator 2 shows, how likely that is, and what each sensor can see of it.

A scene is a set of classes (one, in single-label worlds), drawn from a known distribution by a
stream of its own. A sensor sees its classes up to those that look alike to it; with some
probability the ground has changed between the dates, and ``b`` sees another scene. Layout depends
on the classes' forms alone. So the posterior of the labels, given what a sensor sees, is exact.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crbench.data.sources.synthetic.grounds import TwinClasses
from crbench.seeds import derive

SIZES = (0.3, 0.42, 0.21, 0.07)  # chance of one to four classes in a multi-label scene


@dataclass(frozen=True)
class Factors:
    """The scenes that there are, and what is drawn and seen of each pair.

    ``sets`` (U, C) bool: classes of each scene that can be; ``chance`` (U,) sums to 1. Of each pair
    ``drawn`` (N,) and ``later`` (N,) are scenes (rows of ``sets``) at the dates of a and b, equal
    where nothing ``changed`` (N,) bool. ``groups`` of modality m (C,): the class as which each is
    seen by m; ``change`` is the probability of a change.
    """

    sets: np.ndarray
    chance: np.ndarray
    drawn: np.ndarray
    later: np.ndarray
    changed: np.ndarray
    groups: Mapping[str, np.ndarray]
    change: float

    def seen(self, modality: str) -> tuple[np.ndarray, np.ndarray]:
        """Codes of what the sensor can tell apart: of every scene (U,), and of every pair (N,)."""
        shown = np.zeros_like(self.sets)
        for c, group in enumerate(self.groups[modality]):
            shown[:, group] |= self.sets[:, c]
        _, codes = np.unique(shown, axis=0, return_inverse=True)
        codes = codes.reshape(-1)
        return codes, codes[self.drawn if modality == "a" else self.later]

    def posterior(self, modality: str) -> np.ndarray:
        """P(labels are scene u | the sensor sees v): (V, U), rows sum to 1.

        Labels are those of a's date: b sees them unless the ground has changed since, and then a
        scene that is drawn anew.
        """
        codes, _ = self.seen(modality)
        there = codes[None] == np.arange(codes.max() + 1)[:, None]
        joint = there * self.chance
        if modality == "b":
            anew = joint.sum(axis=1, keepdims=True) * self.chance
            joint = (1 - self.change) * joint + self.change * anew
        return np.asarray(joint / joint.sum(axis=1, keepdims=True))


def draw_factors(
    classes: Sequence[str],
    world: TwinClasses,
    *,
    multi: bool,
    seed: int,
    name: str,
    count: int,
    alike: Mapping[str, Sequence[Sequence[str]]],
    change: float,
    imbalance: float,
) -> Factors:
    """Factors of ``count`` pairs; each pair's are drawn by a seed of its own.

    ``alike``: groups of class names that modality a, b cannot tell apart. ``imbalance``: how many
    times as frequent the most frequent class is as the rarest, in single-label worlds.
    """
    if multi:
        sets, chance = _theme_sets(classes, world.themes)
    else:
        sets = np.eye(len(classes), dtype=bool)
        order = np.random.default_rng(derive("twin frequencies", seed, name)).permutation(len(sets))
        weights = imbalance ** (-order / max(1, len(sets) - 1))
        chance = weights / weights.sum()
    ends = np.cumsum(chance)
    ends[-1] = 1.0
    draws = np.array(
        [np.random.default_rng(derive("twin factors", seed, name, row)).random(3)
         for row in range(count)]
    ).reshape(count, 3)  # fmt: skip
    drawn, other = (np.searchsorted(ends, draws[:, k], side="right") for k in (0, 1))
    changed = draws[:, 2] < change
    groups = {m: _groups(classes, alike[m]) for m in ("a", "b")}
    later = np.where(changed, other, drawn)
    return Factors(sets, chance, drawn, later, changed, groups, change)


def _groups(classes: Sequence[str], alike: Sequence[Sequence[str]]) -> np.ndarray:
    """The class as which each is seen, (C,): the first by name of its group, else itself."""
    first = np.arange(len(classes))
    for names in alike:
        first[[classes.index(name) for name in names]] = classes.index(min(names))
    return first


def _theme_sets(
    classes: Sequence[str], themes: Sequence[Mapping[str, Any]]
) -> tuple[np.ndarray, np.ndarray]:
    """Every set of one to four classes that meet in a theme (U, C), and its chance (U,).

    A theme by its share, a number of classes, then so many by weight without replacement: the
    chance of a set is the sum over the orders in which its classes can be drawn.
    """
    chances: dict[tuple[int, ...], float] = {}
    shares = sum(theme["share"] for theme in themes)
    for theme in themes:
        weights = {classes.index(name): w for name, w in theme["weights"].items()}
        whole = sum(weights.values())
        for size in range(1, min(len(SIZES), len(weights)) + 1):
            # more classes than the theme has are as many as it has
            p_size = SIZES[size - 1] if size < len(weights) else sum(SIZES[size - 1 :])
            for members in itertools.combinations(sorted(weights), size):
                p = sum(
                    _in_order(order, weights, whole) for order in itertools.permutations(members)
                )
                total = theme["share"] / shares * p_size * p
                chances[members] = chances.get(members, 0.0) + total
    sets = np.zeros((len(chances), len(classes)), dtype=bool)
    for row, members in enumerate(sorted(chances)):
        sets[row, list(members)] = True
    chance = np.array([chances[members] for members in sorted(chances)])
    return sets, chance / chance.sum()


def _in_order(order: Sequence[int], weights: Mapping[int, float], whole: float) -> float:
    """The chance that classes are drawn in this order, by weight, without replacement."""
    p, left = 1.0, whole
    for c in order:
        p *= weights[c] / left
        left -= weights[c]
    return p
