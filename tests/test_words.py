"""The vocabulary: every metric that is scored has a title and says what it counts."""

from __future__ import annotations

import pytest

from crbench.scoring.metrics import metric_names
from crbench.words import (
    DIRECTIONS,
    KS,
    LABEL_KINDS,
    MODALITIES,
    PAIR_KS,
    SAME_MODAL,
    arrow,
    definition,
    family,
    title,
)


@pytest.mark.parametrize("kind", LABEL_KINDS)
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_every_metric_has_a_title_and_a_definition(direction: str, kind: str) -> None:
    names = metric_names(direction, kind, KS)
    assert names or (kind == "none" and direction in SAME_MODAL)
    for name in names:
        assert title(name) != name and "{" not in title(name)
        assert definition(name, kind) and "@k" not in title(name)


def test_titles_say_which_f1_and_families_do_not() -> None:
    assert title("map") == family("map") == "mAP"
    assert title("p@10") == family("p@10") == "P@10"
    assert title("f1_item@5") == "F1@5 (item)" and title("f1_query@5") == "F1@5 (query)"
    assert {family(f"{kind}@5") for kind in ("f1", "f1_item", "f1_query", "f1_dataset")} == {"F1@5"}
    assert title("recall@7") == family("recall@7") == "recall@7"  # not one of ours


def test_a_definition_has_its_k_and_what_relevant_means() -> None:
    assert definition("p@10", "multi") == (
        "share of relevant items in the top 10; "
        "an item is relevant when it shares at least one label with the query"
    )
    assert definition("p@10", "single").endswith("when it has the query's class")
    assert "top 20" in definition("f1_item@20", "multi")
    assert "relevant when" not in definition("f1_item@20", "multi")
    assert definition("map", "multi").startswith("mean over queries of average precision")


def test_an_arrow_leads_from_the_query_to_the_gallery() -> None:
    sensors = {"a": "S1", "b": "S2"}
    assert [arrow(direction, sensors) for direction in DIRECTIONS] == [
        "S1→S1", "S2→S2", "S1→S2", "S2→S1",
    ]  # fmt: skip


def test_directions_are_all_pairs_of_modalities() -> None:
    assert set(DIRECTIONS) == {q + g for q in MODALITIES for g in MODALITIES}
    assert set(SAME_MODAL) == {m + m for m in MODALITIES}
    assert set(PAIR_KS) <= set(KS)
