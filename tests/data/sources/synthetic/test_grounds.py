"""The tables of the twins."""

import pytest

from crbench.cards import load_dataset
from crbench.data.sources.synthetic.grounds import GROUNDS, TWIN_CLASSES


def test_tables_are_whole() -> None:
    for name, ground in GROUNDS.items():
        assert sum(ground.mix.values()) == pytest.approx(1), name
    for name, world in TWIN_CLASSES.items():
        assert set(world.grounds) == set(load_dataset(name).labels.classes)
        themed = {kind for theme in world.themes for kind in theme["weights"]}
        assert themed in (set(), set(world.grounds)), "a class that no theme holds"
