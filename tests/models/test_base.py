"""What a method is: its tables are checked when it is built, and parameters count once."""

from __future__ import annotations

import pytest
from torch import nn

from crbench.cards import load_method
from crbench.errors import UserError
from crbench.models.base import Step, count
from crbench.models.baselines import BandStats


def test_progress_is_a_share_below_one() -> None:
    assert [Step(i, 0, 4, 0).progress for i in range(4)] == [0.0, 0.25, 0.5, 0.75]
    assert Step(0, 0, 0, 0).progress == 0.0  # a run without a step


def test_a_shared_parameter_counts_once() -> None:
    one, other = nn.Linear(3, 4), nn.Linear(3, 4)
    other.weight = one.weight
    assert count(iter([*one.parameters(), *other.parameters()])) == 12 + 4 + 4


def test_a_method_checks_its_tables_and_knows_its_bands() -> None:
    card = load_method("band-stats")
    bands = {"a": 2, "b": 12}
    method = BandStats(card, bands)
    bands["a"] = 99
    assert method.bands == {"a": 2, "b": 12} and method.image_size == card.model["image_size"]
    assert method.directions == ("aa", "bb", "ab", "ba")
    wrong = card.model_copy(update={"model": {**card.model, "image_sise": 8}})
    with pytest.raises(UserError, match=r"model\.image_sise") as caught:
        BandStats(wrong, bands)
    assert "model.image_size" in str(caught.value) and "band-stats" in str(caught.value)


def test_parts_and_inference_are_everything_unless_a_method_says_otherwise() -> None:
    method = BandStats(load_method("band-stats"), {"a": 2, "b": 12})
    method.inner, method.frozen = nn.Linear(2, 3), nn.Linear(3, 1)
    assert {name: count(part.parameters()) for name, part in method.parts().items()} == {
        "inner": 9, "frozen": 4,
    }  # fmt: skip
    assert count(method.inference_parameters()) == 13
