"""Blocks between a source and the file: refused with what they are, or written as they are."""

import dataclasses
import io
from typing import Any

import numpy as np
import pytest

from crbench.cards import DatasetCard, load_dataset
from crbench.data.cache.blocks import checked_arrays, on_disk, write_block
from crbench.data.sources import Block, Source, open_source
from crbench.errors import UserError


@pytest.fixture(scope="module")
def card() -> DatasetCard:
    return load_dataset("ben-14k-twin")


@pytest.fixture(scope="module")
def source(card: DatasetCard) -> Source:
    opened = open_source(card)
    assert isinstance(opened, Source)
    return opened


def with_nan(images: np.ndarray) -> np.ndarray:
    images = images.copy()
    images[3, 1, 5, 5] = np.nan
    return images


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("a", with_nan, "a of 'ben-14k-twin-0011' has pixels that are NaN or infinite"),
        (
            "a",
            lambda x: x[:, :1],
            r"a of rows 8 to 15 is float32 \(8, 1, .*, the card says float32",
        ),
        ("b", lambda x: x.astype(np.int32), r"b of rows 8 to 15 is int32 .*, the card says uint16"),
        ("labels", lambda x: None, "labels of rows 8 to 15 is nothing"),
        ("labels", lambda x: x[:-1], r"labels of rows 8 to 15 is uint8 \(7, 19\)"),
    ],
)
def test_what_is_not_as_the_card_says_is_refused(
    card: DatasetCard, source: Source, part: str, change: Any, message: str
) -> None:
    block = source.read(8, 16)
    changed = dataclasses.replace(block, **{part: change(getattr(block, part))})
    with pytest.raises(UserError, match=message) as caught:
        checked_arrays(changed, card, source, 8, 16)
    assert caught.value.where == source.description and caught.value.fix


def test_arrays_become_what_lies_in_the_file(card: DatasetCard, source: Source) -> None:
    """Little-endian and in one piece, with the values of the block."""
    block = source.read(0, 4)
    swapped = Block(block.a.astype(">f4"), np.asfortranarray(block.b), block.labels)
    arrays = checked_arrays(swapped, card, source, 0, 4)
    assert [array.dtype.str for array in arrays.values()] == ["|u1", "<f4", "<u2"]
    for name, array in arrays.items():
        assert array.flags["C_CONTIGUOUS"]
        np.testing.assert_array_equal(array, getattr(block, name))


def test_a_block_is_read_back_by_its_digest_and_touches_no_other() -> None:
    spans = {"a": (100, np.dtype("<f4"), (9, 2, 3)), "labels": (10, np.dtype("u1"), (9,))}
    file = io.BytesIO(bytes(400))
    rng = np.random.default_rng(0)
    arrays = {
        "a": rng.normal(size=(2, 2, 3)).astype("<f4"),
        "labels": np.array([7, 9], np.uint8),
    }
    digest = write_block(file, spans, arrays, 4)
    assert on_disk(file, spans, 4, 6) == digest
    expected = bytearray(400)
    expected[100 + 4 * 24 : 100 + 6 * 24] = arrays["a"].tobytes()
    expected[14:16] = bytes([7, 9])
    assert file.getvalue() == bytes(expected)
    file.getbuffer()[100 + 5 * 24] ^= 1
    assert on_disk(file, spans, 4, 6) != digest
