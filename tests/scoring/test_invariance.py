"""Changes that must not matter, drawn by hypothesis: block sizes, batches of queries, monotone maps
of the scores; and encoders that see nothing, everything, or one thing of two."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_sets import TITLES, ids_of, make, pairs, score, values

from crbench.errors import UserError
from crbench.scoring import Items, engine, metrics, per_query
from crbench.scoring.metrics import empty_values, make_task, rank_rows
from crbench.scoring.tiles import workers
from crbench.words import DIRECTIONS

KINDS = st.sampled_from(["multi", "single", "none"])


def blob(measured: dict) -> bytes:
    parts = [v.tobytes() for part in measured.values() for v in part.values.values()]
    return b"".join(parts) + repr([part.tied_share for part in measured.values()]).encode()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), KINDS, st.integers(1, 70), st.integers(1, 90), st.integers(1, 40))
def test_block_sizes_change_no_bit(seed: int, kind: str, rows: int, wide: int, fit: int) -> None:
    """Tiles of any shape, and any number of queries that the memory at hand has room for."""
    parts, items = make(seed, 61, width=5, kind=kind, levels=2 if seed % 2 else None)
    expected = blob(per_query(pairs(parts), items, items, label_kind=kind, threads=1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "rows_in_memory", lambda n, most: min(fit, most))
        patch.setattr(metrics, "QUERY_TILE", rows)
        patch.setattr(metrics, "GALLERY_TILE", wide)
        found = per_query(pairs(parts), items, items, label_kind=kind, threads=1)
    assert blob(found) == expected


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), KINDS, st.integers(1, 30))
def test_a_batch_of_queries_gets_the_values_that_they_get_together(
    seed: int, kind: str, size: int
) -> None:
    parts, items = make(seed, 31, width=3, kind=kind)
    whole = per_query(pairs(parts), items, items, label_kind=kind, threads=1)
    rows = np.arange(size)
    few = Items(items.ids[:size], None if kind == "none" else items.labels[:size])
    batch = per_query(pairs(parts, rows), few, items, label_kind=kind, threads=1)
    for direction, part in batch.items():
        for name, found in part.values.items():
            assert found.tobytes() == whole[direction].values[name][:size].tobytes()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.sampled_from(["multi", "single"]),
    st.lists(st.floats(0.001, 10), min_size=9, max_size=9),
)
def test_a_monotone_map_of_the_scores_changes_no_bit(seed: int, kind: str, steps: list) -> None:
    """Any increasing map of the nine levels to other float32 values, ties staying ties."""
    rng = np.random.default_rng(seed)
    _, items = make(seed, 40, kind=kind)
    levels = rng.integers(0, 9, (40, 40))
    other = (np.cumsum(steps) - 20).astype(np.float32)
    task = make_task("ab", items, items, kind, (1, 5, 50))
    seen = set()
    for values_of in (np.arange(9, dtype=np.float32), other):
        found = empty_values(task)
        with workers(1) as run:
            tied = rank_rows(task, np.arange(40), values_of[levels], found, run)
        arrays = (found.ap, found.precision, found.items, found.pair)
        seen.add((tied, b"".join(x.tobytes() for x in arrays)))
    assert len(seen) == 1


@pytest.mark.parametrize("kind", ["multi", "single"])
def test_two_points_get_the_value_of_their_two_groups(kind: str) -> None:
    """All images of class 0 on one point, the others on another: chance inside each."""
    n = 60
    labels = np.arange(n) % 3
    points = np.array([[1.0, 0.0], [-0.5, 1.0]], np.float32)
    parts = dict.fromkeys("ab", points[(labels > 0).astype(int)])
    given_labels = labels if kind == "single" else np.eye(3, dtype=np.uint8)[labels]
    result = score(parts, Items(ids_of(n), given_labels), kind, ks=(1, 5))
    for d in DIRECTIONS:
        inside = 1.0 if d in ("ab", "ba") else 0.0  # the query itself is left out
        found = result["per_class"][d]
        assert found["p@5"][TITLES[0]] == pytest.approx(1.0)
        half = (20 - 1 + inside) / (40 - 1 + inside)
        for title in TITLES[1:]:
            assert found["p@5"][title] == pytest.approx(half)
        assert result["tied_share"][d] == 1.0
        assert values(result, d)["p@1"] == pytest.approx((1 + 2 * half) / 3)


def test_an_encoder_of_nan_is_refused_by_name() -> None:
    parts, items = make(0, 9, levels=None)
    parts["b"][:] = np.nan
    with pytest.raises(UserError, match="NaN") as caught:
        score(parts, items)
    assert caught.value.where.startswith("bb query embeddings, row 0")


def test_blocks_follow_the_memory_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 2**28 < engine.available_memory() < 2**50
    monkeypatch.setattr(engine, "available_memory", lambda: 2**30)
    assert engine.rows_in_memory(80_000, 128) == 128
    assert engine.rows_in_memory(1_000_000, 128) == 33  # an eighth of 1 GiB in float32
    assert engine.rows_in_memory(10**9, 128) == 1
