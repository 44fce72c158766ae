"""Who ranks which queries: shares of tiles, sums over ranks, blocks that fit into memory."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_sets import make, pairs

from crbench.scoring import Engine, engine, metrics, per_query


def test_blocks_follow_the_memory_at_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 2**28 < engine.available_memory() < 2**50
    monkeypatch.setattr(engine, "available_memory", lambda: 2**30)
    assert engine.rows_in_memory(80_000, 128) == 128
    assert engine.rows_in_memory(1_000_000, 128) == 33  # an eighth of 1 GiB in float32
    assert engine.rows_in_memory(10**9, 128) == 1


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 5), st.sampled_from(["multi", "single", "none"]))
def test_the_number_of_ranks_changes_no_bit(seed: int, size: int, kind: str) -> None:
    """Ranks as threads that add up at a barrier; small tiles, so that each has some or none."""
    parts, items = make(seed, 3 + seed % 40, width=3, kind=kind)
    barrier, lock = threading.Barrier(size), threading.Lock()
    shared: dict[str, np.ndarray] = {}
    found: list[dict] = [{} for _ in range(size)]

    def total(values: np.ndarray) -> np.ndarray:
        if barrier.wait() == 0:
            shared["sum"] = np.zeros_like(values)
        barrier.wait()
        with lock:
            shared["sum"] += values
        barrier.wait()
        return shared["sum"].copy()

    def one(rank: int) -> None:
        engine = Engine(rank, size, total)
        found[rank] = per_query(
            pairs(parts), items, items, label_kind=kind, threads=1, engine=engine
        )

    threads = [threading.Thread(target=one, args=(rank,)) for rank in range(size)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "QUERY_TILE", 4)
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    expected = per_query(pairs(parts), items, items, label_kind=kind, threads=1)
    for theirs in found:
        for direction, part in expected.items():
            assert theirs[direction].tied_share == part.tied_share
            for name, values in part.values.items():
                assert theirs[direction].values[name].tobytes() == values.tobytes()


def test_ranks_own_whole_tiles_and_together_all_queries() -> None:
    order = np.random.default_rng(0).permutation(23)
    shares = [Engine(rank, 3).share(order, 4) for rank in range(3)]
    assert shares[0].tolist() == [*order[0:4], *order[12:16]]
    assert sorted(np.concatenate(shares).tolist()) == list(range(23))
    assert Engine(5, 6).share(order[:4], 4).tolist() == []  # fewer tiles than ranks


def test_every_rank_gets_the_rows_of_all_and_the_sum_of_the_counts() -> None:
    whole = [np.arange(12.0).reshape(4, 3), np.array([np.nan, 1.0, 2.0, np.nan])]
    owned = [np.array([0, 3]), np.array([1, 2])]
    sent: list[np.ndarray] = []
    for mine in owned:  # what each rank would add
        arrays = [np.where(np.isin(np.arange(4), mine).reshape(-1, *[1] * (a.ndim - 1)), a, 9e9)
                  for a in whole]  # fmt: skip
        Engine(0, 2, lambda values: sent.append(values) or values).gather(arrays, mine, 10)
    arrays = [np.full_like(array, 7.0) for array in whole]
    arrays[0][owned[0]], arrays[1][owned[0]] = whole[0][owned[0]], whole[1][owned[0]]
    count = Engine(0, 2, lambda _: sent[0] + sent[1]).gather(arrays, owned[0], 10)
    assert count == 20
    assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(arrays, whole, strict=True))
