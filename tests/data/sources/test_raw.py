"""What sources share: where data are looked for, splits by hash, ids, counts, sizes of blocks."""

from pathlib import Path

import numpy as np
import pytest

from crbench.cards import load_dataset
from crbench.data.cache.reading import class_counts
from crbench.data.sources import open_source
from crbench.data.sources.raw import (
    bytes_of_pair,
    counted,
    numbered,
    pairs_at_once,
    split_by_hash,
)
from crbench.errors import UserError


def test_splits_by_hash_depend_on_ids_and_seed_alone() -> None:
    ids = [f"item{k}" for k in range(101)]
    shares = {"train": 0.54, "val": 0.06, "query": 0.1, "gallery": 0.3}
    one = split_by_hash(ids, shares, 0)
    assert split_by_hash(ids[::-1], shares, 0) == one
    assert split_by_hash(ids, shares, 1) != one
    counts = [list(one.values()).count(name) for name in shares]
    assert sum(counts) == 101
    np.testing.assert_allclose(counts, [54.5, 6.06, 10.1, 30.3], atol=1)


@pytest.mark.parametrize("name", ["landsat7-pan-ms", "eurosat-wald"])
def test_missing_raw_data_say_where_they_were_looked_for(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = load_dataset(name)
    with pytest.raises(UserError, match="the raw data of") as caught:
        open_source(card, tmp_path / "nowhere")
    assert "nowhere" in str(caught.value.where)
    monkeypatch.setenv("CRBENCH_REAL_DATA", str(tmp_path))
    monkeypatch.setattr("crbench.data.sources.raw.PACKAGE", tmp_path / "p" / "crbench")
    with pytest.raises(UserError, match="the raw data of") as caught:
        open_source(card, None)
    assert str(tmp_path / card.source["folder"]) in str(caught.value.where)
    assert "--source" in str(caught.value.fix)


def test_a_block_is_small_and_never_empty() -> None:
    card = load_dataset("ben-14k")
    assert bytes_of_pair(card) == 120 * 120 * (2 * 4 + 12 * 2)
    assert pairs_at_once(card) == 32 * 2**20 // bytes_of_pair(card)
    small, large = (
        card.model_copy(update={"a": card.a.model_copy(update={"size": (side, side)})})
        for side in (1, 4096)
    )
    assert (pairs_at_once(small), pairs_at_once(large)) == (97, 1)


def test_numbers_have_as_many_digits_as_the_last() -> None:
    assert numbered("p", 1) == ["p-0"]
    assert numbered("p", 11)[9:] == ["p-09", "p-10"]
    assert numbered("p", 2, digits=5) == ["p-00000", "p-00001"]


def test_classes_are_counted_from_both_kinds_of_labels() -> None:
    card = load_dataset("dsrsid")
    labels = np.array([0, 2, 2, 7])
    counts = class_counts(card, labels)
    assert class_counts(card, np.eye(8, dtype=np.uint8)[labels]) == counts
    assert list(counts.values()) == [1, 0, 2, 0, 0, 0, 0, 1]
    assert counted({"forest": 1200, "river": 8}) == "forest 1,200, river 8"
