"""Splits drawn by a rule: counts, shares, and the same split in whatever form a set lies."""

from typing import Any

import numpy as np
import pytest

from crbench.cards import load_dataset
from crbench.data.sources.user.splits import draw
from crbench.errors import UserError


def test_another_form_of_a_set_keeps_its_split() -> None:
    from crbench.data.sources import with_kind

    card = load_dataset("dsrsid")
    changed = with_kind(card, "hdf5")
    assert changed.source == {"kind": "hdf5", "split": card.source["split"]}
    assert with_kind(changed, "hdf5") is changed and with_kind(card, None) is card


def test_counts_are_drawn_one_after_the_other_and_the_rest_is_named() -> None:
    ids = [f"p{k:02d}" for k in range(40)]
    labels = np.arange(40) % 4
    rule = {"counts": {"query": 8, "val": 4}, "balanced": ["query"], "rest": "train"}
    split, words = draw(rule, ids, labels, "card")
    assert (split.count("query"), split.count("val"), split.count("train")) == (8, 4, 28)
    assert np.bincount(labels[[name == "query" for name in split]]).tolist() == [2, 2, 2, 2]
    assert words.endswith("40 pairs: query 8, train 28, val 4")
    again, _ = draw(rule, ids[::-1], labels[::-1], "card")
    assert again[::-1] == split, "the order of the pairs changed their splits"


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({}, "neither the data nor the card"),
        ({"shares": {"train": 0.5}}, "do not sum to 1"),
        ({"shares": {"train": 1.0}, "counts": {"val": 1}}, "one of them"),
        ({"counts": {"val": 4}}, "would take 4 of 4 pairs"),
    ],
)
def test_rules_that_leave_a_split_empty_are_refused(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        draw(rule, list("abcd"), None, "card")
