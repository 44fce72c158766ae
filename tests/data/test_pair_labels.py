"""Names of a pair's labels, and which items answer a query, for the three kinds of labels."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from crbench.data.cache.reading import Cache, open_cache
from crbench.data.pair_labels import distances, label_names, relevant


def of_kind(kind: str, labels: Any) -> Cache:
    about = SimpleNamespace(kind=kind, classes=["sea", "town", "wood"])
    return cast(Cache, SimpleNamespace(card=SimpleNamespace(labels=about), labels=labels))


@pytest.mark.parametrize(
    ("kind", "labels", "names", "answers"),
    [
        ("single", np.array([1, 2, 1]), ["town"], [True, False, True]),
        ("multi", np.array([[1, 0, 1], [0, 1, 0], [0, 0, 1]]), ["sea", "wood"], [1, 0, 1]),
        ("none", None, [], [True, False, False]),
    ],
)
def test_names_and_answers(kind: str, labels: Any, names: list[str], answers: list[Any]) -> None:
    cache = of_kind(kind, labels)
    assert label_names(cache, 0) == names
    assert relevant(cache, 0, np.arange(3)).tolist() == answers


def test_a_cache_names_what_it_stores(twin_cache: Path) -> None:
    cache = open_cache(twin_cache)
    assert cache.labels is not None
    for row in range(0, cache.n, 40):
        number = [cache.card.labels.classes.index(name) for name in label_names(cache, row)]
        assert number == np.flatnonzero(cache.labels[row]).tolist()


def test_what_is_near_answers() -> None:
    about = SimpleNamespace(kind="place", classes=[], radius_m=100.0)
    places = np.array([[0.0, 0, 0], [60, 80, 0], [60, 81, 0]])
    card = SimpleNamespace(labels=about)
    cache = cast(Cache, SimpleNamespace(card=card, labels=None, positions=places))
    assert relevant(cache, 0, np.arange(3)).tolist() == [True, True, False]
    assert distances(cache, 0, np.array([1])).tolist() == [100.0]
