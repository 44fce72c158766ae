"""Verifying: damage has a name, by array and sample, or the file is refused."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from crbench.data.cache import layout
from crbench.data.cache.reading import open_cache
from crbench.data.cache.verify import verify_cache
from crbench.errors import UserError


def flip(path: Path, offset: int, bit: int = 1) -> None:
    """Flip one bit of the file."""
    with open(path, "r+b") as handle:
        handle.seek(offset)
        byte = handle.read(1)[0]
        handle.seek(offset)
        handle.write(bytes([byte ^ bit]))


def row_offset(path: Path, name: str, row: int) -> int:
    offset, dtype, shape = layout.spans(path)[name]
    return offset + row * int(np.prod(shape[1:], dtype=int)) * dtype.itemsize


@pytest.mark.parametrize("name", ["a", "b", "labels", "ids", "split"])
@pytest.mark.parametrize("row", [0, 77, 159])
def test_a_flipped_bit_is_named_by_array_and_sample(copy: Path, name: str, row: int) -> None:
    flip(copy, row_offset(copy, name, row), 1)
    problems = verify_cache(copy, quiet=True)[0]
    assert any(problem.startswith(f"{name}: sample ") for problem in problems), problems
    assert any(f"(row {row}) is damaged" in problem for problem in problems)
    assert all(f"(row {row})" in problem for problem in problems)


def test_many_damaged_samples_are_counted(copy: Path) -> None:
    for row in range(30):
        flip(copy, row_offset(copy, "a", row) + 5)
    problems = verify_cache(copy, quiet=True)[0]
    assert len(problems) == 11
    assert problems[-1] == "a: and 20 more samples"


def test_a_flipped_bit_in_a_stored_digest_is_told_apart(copy: Path) -> None:
    with h5py.File(copy) as file:
        offset = file["checks/b"].id.get_offset()
    flip(copy, offset + 8 * 12)
    (problem,) = verify_cache(copy, quiet=True)[0]
    assert "(row 12) is sound" in problem


@pytest.mark.parametrize(
    ("where", "key", "value"),
    [("a", "mean", np.array([0.0, 1.0])), ("/", "source", "elsewhere"), ("b", "units", "dB")],
)
def test_changed_attributes_are_found(copy: Path, where: str, key: str, value: object) -> None:
    with h5py.File(copy, "r+") as file:
        file[where].attrs[key] = value
    problems, _ = verify_cache(copy, quiet=True)
    assert problems == ["the attributes (card, bands, statistics) are damaged"]


def test_labels_out_of_range_are_found(copy: Path) -> None:
    with open(copy, "r+b") as handle:
        handle.seek(row_offset(copy, "labels", 4))
        handle.write(b"\x07")
    assert any("label outside 0 to 1" in problem for problem in verify_cache(copy, quiet=True)[0])


def test_flips_outside_the_arrays_are_refused_found_or_harmless(copy: Path) -> None:
    """Structure and attributes of the file: HDF5's checksums, ours, or bytes that nobody reads."""
    raw = copy.read_bytes()
    used = np.zeros(len(raw), dtype=bool)
    for offset, dtype, shape in layout.spans(copy).values():
        used[offset : offset + int(np.prod(shape)) * dtype.itemsize] = True
    sound = open_cache(copy)
    outcomes = {"refused": 0, "found": 0, "harmless": 0}
    rng = np.random.default_rng(0)
    for offset in rng.choice(np.flatnonzero(~used), 60, replace=False):
        copy.write_bytes(raw)
        flip(copy, int(offset), 1 << int(rng.integers(8)))
        try:
            problems = verify_cache(copy, quiet=True)[0]
        except UserError:
            outcomes["refused"] += 1
            continue
        outcomes["found" if problems else "harmless"] += 1
        if not problems:
            again = open_cache(copy)
            assert (again.digest, again.card) == (sound.digest, sound.card)
            assert again.stats("b")["mean"].tolist() == sound.stats("b")["mean"].tolist()
    assert outcomes["refused"] > outcomes["harmless"]
