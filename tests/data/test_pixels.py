"""The loader: the same batches wherever pixels live, whoever reads, however many share them."""

import itertools
import multiprocessing
import os
import pickle
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from crbench.cards import load_dataset
from crbench.data import pixels as stores
from crbench.data.cache.build import build_cache
from crbench.data.cache.reading import open_cache
from crbench.data.pairs import Pairs, epoch_batches, epoch_order
from crbench.errors import UserError

CSMAE = ["B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"]


def both(path: Path, bands: tuple[str, ...] = (), size: int = 16) -> tuple[Pairs, Pairs]:
    card = load_dataset("ben-14k-twin").with_bands(bands)
    found = [
        Pairs(open_cache(path, card), ["train"], image_size=size, loading=loading)
        for loading in ("memory", "stream")
    ]
    assert found[0].home == torch.device("cpu") and found[1].home is None
    return found[0], found[1]


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert set(one) == set(other)
    for name, values in one.items():
        assert torch.equal(values, other[name]), name


@pytest.mark.parametrize("bands", [(), (f"b={','.join(CSMAE)}", "a=VH,VV")])
def test_streamed_and_resident_batches_are_equal_to_the_bit(
    twin_cache: Path, bands: tuple[str, ...]
) -> None:
    resident, streamed = both(twin_cache, bands)
    for epoch in range(2):
        blocks = epoch_batches(len(resident), 3, epoch, 10)
        for block, one, other in zip(
            blocks, resident.batches(blocks), streamed.batches(blocks), strict=True
        ):
            equal(one, other)
            equal(one, resident.batch(block))
            equal(one, streamed.batch(block))
    odd = [np.arange(5), np.array([7]), np.array([3, 3, 0]), np.arange(90, 96)]
    for one, other in zip(resident.batches(odd), streamed.batches(odd), strict=True):
        equal(one, other)


def test_batches_that_are_kept_are_not_overwritten(twin_cache: Path) -> None:
    resident, streamed = both(twin_cache, size=32)
    blocks = epoch_batches(len(resident), 0, 0, 8)
    kept = zip(list(resident.batches(blocks)), list(streamed.batches(blocks)), strict=True)
    for block, (one, other) in zip(blocks, kept, strict=True):
        equal(one, other)
        equal(one, resident.batch(block))


def test_threads_give_the_same_pixels_in_rooms_that_are_used_again(twin_cache: Path) -> None:
    """The way to a GPU; here into plain memory."""
    resident, streamed = both(twin_cache)
    blocks = epoch_batches(len(resident), 0, 0, 8)
    assert len(blocks) > 2 * stores.AHEAD
    seen = set()
    for one, other in zip(
        resident.native(blocks), stores.by_threads(streamed.stores, blocks), strict=True
    ):
        equal(one, other)
        seen.add(other["b"].data_ptr())
    assert len(seen) == stores.AHEAD


def test_at_most_so_many_batches_are_read_ahead(
    twin_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, streamed = both(twin_cache)
    done, read = [], stores.Streamed.read

    def counted(self: stores.Streamed, positions: np.ndarray, out: torch.Tensor) -> torch.Tensor:
        if self.modality == "a":
            done.append(positions)
        return read(self, positions, out)

    monkeypatch.setattr(stores.Streamed, "read", counted)
    blocks = epoch_batches(len(streamed), 0, 0, 4)
    found = stores.by_threads(streamed.stores, blocks)
    before = threading.active_count()
    for taken in range(1, 4):
        next(found)
        assert len(done) <= taken - 1 + stores.AHEAD
    found.close()
    assert len(done) < len(blocks)
    assert threading.active_count() <= before


def test_an_error_in_a_reading_thread_is_not_lost(
    twin_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, streamed = both(twin_cache)

    def fail(*_: object) -> None:
        raise OSError("injected")

    blocks = epoch_batches(len(streamed), 0, 0, 8)
    monkeypatch.setattr(stores.Streamed, "read", fail)
    with pytest.raises(OSError, match="injected"):
        list(stores.by_threads(streamed.stores, blocks))
    monkeypatch.setattr(stores.Streamed, "ask", fail)
    pages = itertools.count()
    monkeypatch.setattr(stores, "from_disk", lambda: next(pages))
    with pytest.raises(OSError, match="injected"):
        list(streamed.batches(blocks))


def test_the_system_is_asked_for_the_bytes_of_the_next_batches(
    twin_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, streamed = both(twin_cache)
    asked: list[tuple[int, int]] = []
    monkeypatch.setattr(
        stores.os, "posix_fadvise", lambda _, start, count, __: asked.append((start, count)),
        raising=False,
    )  # fmt: skip
    monkeypatch.setattr(stores.os, "POSIX_FADV_WILLNEED", 3, raising=False)
    pages = itertools.count()
    monkeypatch.setattr(stores, "from_disk", lambda: next(pages))
    store = streamed.stores["b"]
    assert isinstance(store, stores.Streamed)
    images = store.cache.images("b")
    one = images[:1].nbytes
    store.ask(0, np.array([7, 3, 4, 5, 3, 90]))
    starts = [images.offset + row * one for row in (3, 7, 90)]
    assert asked == list(zip(starts, [3 * one, one, one], strict=True))
    asked.clear()
    found = streamed.batches(epoch_batches(len(streamed), 0, 0, 1))
    next(found)
    next(found)
    assert len(asked) <= 2 * (stores.AHEAD + 1)  # of two stores, one block further
    assert len(list(found)) == 94
    assert len(set(asked)) == len(asked), "asked twice"
    asked.clear()
    monkeypatch.setattr(stores, "from_disk", lambda: 7)
    list(streamed.batches(epoch_batches(len(streamed), 0, 0, 1)))
    assert asked == []  # the system holds the pages


def test_an_epoch_is_that_of_the_committed_runs_and_can_be_entered_anywhere() -> None:
    """Whole batches of the order by seed and epoch, as training has cut them from the first run."""
    order = epoch_order(103, 5, 2)
    blocks = epoch_batches(103, 5, 2, 10)
    assert [block.tolist() for block in blocks] == [
        order[k * 10 : (k + 1) * 10].tolist() for k in range(10)
    ]
    late = epoch_batches(103, 5, 2, 10, start=7)
    assert [block.tolist() for block in late] == [block.tolist() for block in blocks[7:]]


@pytest.mark.parametrize("world", [1, 2, 3, 6])
def test_ranks_share_the_batch_of_one_process(world: int) -> None:
    whole = epoch_batches(100, 1, 4, 12, start=2)
    shares = [epoch_batches(100, 1, 4, 12, start=2, rank=r, world=world) for r in range(world)]
    for k, block in enumerate(whole):
        parts = [share[k] for share in shares]
        assert {len(part) for part in parts} == {12 // world}
        assert np.concatenate(parts).tolist() == block.tolist()


@pytest.mark.parametrize(("size", "rank", "world"), [(10, 0, 3), (12, 3, 3), (12, -1, 3)])
def test_shares_that_are_not_equal_are_refused(size: int, rank: int, world: int) -> None:
    with pytest.raises(UserError, match="no equal share"):
        epoch_batches(100, 0, 0, size, rank=rank, world=world)


def _sums(pairs: Pairs, queue: "multiprocessing.Queue[list[float]]") -> None:
    torch.set_num_threads(1)
    blocks = epoch_batches(len(pairs), 0, 0, 8)
    queue.put([float(batch["b"].double().sum()) for batch in pairs.batches(blocks)])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_other_processes_read_for_themselves(twin_cache: Path, method: str) -> None:
    if method not in multiprocessing.get_all_start_methods():
        pytest.skip(f"this system has no {method}")
    _, streamed = both(twin_cache)
    blocks = epoch_batches(len(streamed), 0, 0, 8)
    torch.set_num_threads(1)  # a pool of OpenMP threads does not survive a fork
    expected = [float(batch["b"].double().sum()) for batch in streamed.batches(blocks)]
    assert len(pickle.dumps(streamed)) < 200_000, "the images travelled along"
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    children = [context.Process(target=_sums, args=(streamed, queue)) for _ in range(2)]
    for child in children:
        child.start()
    again = [float(batch["b"].double().sum()) for batch in streamed.batches(blocks)]
    found = [queue.get(timeout=120) for _ in children]
    for child in children:
        child.join(timeout=60)
        assert child.exitcode == 0
    assert found == [expected, expected]
    assert again == expected


def test_where_pixels_live_follows_what_is_free(
    twin_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cpu = torch.device("cpu")
    monkeypatch.setattr(stores, "available_memory", lambda: 1000)
    assert stores.home_of(500, cpu, "auto") == cpu
    assert stores.home_of(501, cpu, "auto") is None
    assert stores.home_of(10**9, cpu, "memory") == cpu
    assert stores.home_of(1, cpu, "stream") is None
    with pytest.raises(UserError, match="loading"):
        stores.home_of(1, cpu, "disk")
    card = load_dataset("ben-14k-twin")
    pairs = Pairs(open_cache(twin_cache, card), ["train"], image_size=16)
    assert pairs.home is None
    assert pairs.figure == "train split 0.0 GB, streamed from the file"
    monkeypatch.setattr(stores, "available_memory", lambda: 10**9)
    pairs = Pairs(open_cache(twin_cache, card), ["train"], image_size=16)
    assert pairs.figure == "train split 0.0 GB, resident in memory"
    assert pairs.nbytes == 96 * 32 * 32 * (2 * 4 + 12 * 2)


def test_a_normalised_epoch_has_mean_0_and_std_1_in_every_band(tmp_path: Path) -> None:
    for name in ("ben-14k-twin", "cbrsir-vs-twin", "dsrsid-twin"):
        card = load_dataset(name)
        kept = [f"source.splits.{s}={64 if s in card.train_splits else 16}"
                for s in card.source["splits"]]  # fmt: skip
        card = load_dataset(name, overrides=kept)
        cache = open_cache(build_cache(card, tmp_path / f"{name}.h5", quiet=True), card)
        assert card.normalise == "cache"
        for which in ("a", "b"):
            side = card.modality(which).size[0]
            pairs = Pairs(cache, card.train_splits, image_size=side, modalities=[which])
            whole = torch.cat([b[which] for b in pairs.batches(epoch_batches(len(pairs), 0, 0, 8))])
            assert whole.mean((0, 2, 3)).abs().max() < 0.05
            assert (whole.std((0, 2, 3)) - 1).abs().max() < 0.05


def test_bands_are_chosen_and_ordered_by_name_and_statistics_follow(twin_cache: Path) -> None:
    plain, _ = both(twin_cache, size=32)
    chosen, _ = both(twin_cache, ("a=VH,VV", "b=B12,B02"), size=32)
    rows = np.array([4, 1, 9])
    one, other = plain.batch(rows), chosen.batch(rows)
    assert torch.equal(other["a"], one["a"][:, [1, 0]])
    assert torch.equal(other["b"], one["b"][:, [11, 1]])
    cache = open_cache(twin_cache, load_dataset("ben-14k-twin").with_bands(["a=VH,VV"]))
    whole = open_cache(twin_cache)
    assert cache.stats("a")["mean"].tolist() == whole.stats("a")["mean"][[1, 0]].tolist()
    assert cache.digest == whole.digest
    assert cache.card.a.bands == ["VV", "VH"]


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("a=VV,HH", "there is no band HH, only VV, VH"),
        ("b=B02,B02", "repeat"),
        ("c=B02", "names no bands"),
        ("B02,B03", "names no bands"),
        ("a=", "there is no band"),
    ],
)
def test_bands_that_are_not_there_are_refused(choice: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_dataset("ben-14k-twin").with_bands([choice])


def test_cards_without_chosen_bands_keep_their_digest() -> None:
    card = load_dataset("ben-14k-twin")
    assert "use" not in card.to_dict()["a"]
    assert "exclude" not in card.to_dict()["protocols"]["leave-one-out"]
    assert card.with_bands(()) == card
    chosen = card.with_bands(["a=VH"])
    assert chosen.digest != card.digest
    assert chosen.content == card.content  # the same cache serves both


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="the system cannot be asked")
def test_pages_that_were_put_out_of_memory_are_noticed(tmp_path: Path, twin_cache: Path) -> None:
    path = Path(shutil.copy(twin_cache, tmp_path / "ben-14k-twin.h5"))
    _, streamed = both(path)
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    before = stores.from_disk()
    list(streamed.batches(epoch_batches(len(streamed), 0, 0, 8)))
    again = stores.from_disk()
    list(streamed.batches(epoch_batches(len(streamed), 0, 0, 8)))
    assert stores.from_disk() == again
    if again == before:
        pytest.skip("this file system keeps its pages in memory")
