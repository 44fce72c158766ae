"""Orders of axes: every one that a file may have is told by sizes, or by content, or refused."""

from itertools import permutations
from pathlib import Path

import h5py
import numpy as np
import pytest

from crbench.cards import DatasetCard, load_dataset
from crbench.data.sources.user.axes import axes_in_words, axes_of_pairs, read_rows
from crbench.errors import UserError

N = 7


@pytest.fixture
def card() -> DatasetCard:
    return load_dataset("dsrsid", overrides=["a.size=[16, 10]", "b.size=[5, 4]"])


def images(n: int = N) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        "a": rng.integers(0, 256, (n, 1, 16, 10), np.uint8),
        "b": rng.integers(0, 256, (n, 4, 5, 4), np.uint8),
    }


def written(path: Path, arrays: dict[str, np.ndarray]) -> h5py.File:
    with h5py.File(path, "w") as file:
        for name, array in arrays.items():
            file[name] = array
    return h5py.File(path)


FORWARDS = [
    axes for axes in permutations(range(4)) if axes.index(0) < axes.index(2) < axes.index(3)
]


@pytest.mark.parametrize("order", [*FORWARDS, *(axes[::-1] for axes in FORWARDS)])
def test_every_order_is_read_back(card: DatasetCard, tmp_path: Path, order: list[int]) -> None:
    """``order``: which of N, C, H, W each axis of the file is."""
    made = images()
    stored = {which: array.transpose(order) for which, array in made.items()}
    with written(tmp_path / "x.h5", stored) as file:
        arrays = {which: file[which] for which in stored}
        axes = axes_of_pairs(arrays, card, tmp_path)
        assert axes_in_words(axes["a"]) == "(" + ", ".join("NCHW"[k] for k in order) + ")"
        for which in arrays:
            block = read_rows(arrays[which], axes[which], 2, 5)
            np.testing.assert_array_equal(block, made[which][2:5])


def test_one_band_needs_no_axis_and_bytes_may_be_swapped(tmp_path: Path) -> None:
    card = load_dataset("dsrsid", overrides=["a.size=[16, 10]", "b.size=[5, 4]", "b.dtype=uint16"])
    made = images()
    stored = {"a": made["a"][:, 0], "b": made["b"].astype(">u2")}
    with written(tmp_path / "x.h5", stored) as file:
        axes = axes_of_pairs({"a": file["a"], "b": file["b"]}, card, tmp_path)
        np.testing.assert_array_equal(read_rows(file["a"], axes["a"], 0, N), made["a"])
        block = read_rows(file["b"], axes["b"], 1, 3)
        assert block.dtype == np.uint16 and block.dtype.isnative
        np.testing.assert_array_equal(block, made["b"][1:3])


@pytest.mark.parametrize("order", [(0, 2, 3, 1), (3, 2, 0, 1)])
def test_where_sizes_do_not_tell_the_content_does(tmp_path: Path, order: tuple[int, ...]) -> None:
    """Sixteen pairs of 16 × 16 px, channels last: samples may come first or third."""
    card = load_dataset("dsrsid", overrides=["a.size=[16, 16]", "b.size=[16, 16]"])
    b = np.random.default_rng(16).integers(0, 256, (16, 4, 16, 16), np.uint8)
    rows, columns = np.mgrid[:16, :16]
    level = np.random.default_rng(0).permutation(16)[:, None, None, None] * 4
    made = {"a": (4 * rows + 7 * columns + level).astype(np.uint8), "b": b}
    stored = {which: array.transpose(order) for which, array in made.items()}
    with written(tmp_path / "x.h5", stored) as file:
        axes = axes_of_pairs({"a": file["a"], "b": file["b"]}, card, tmp_path)
        for which in made:
            block = read_rows(file[which], axes[which], 3, 9)
            np.testing.assert_array_equal(block, made[which][3:9])


@pytest.mark.parametrize("size", ["[5, 4]", "[4, 4]"])
@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0)])
def test_usual_orders_come_first_and_are_alike_whatever_the_content(
    tmp_path: Path, order: tuple[int, ...], size: str
) -> None:
    """Four pairs of four bands; in the second array everything but the image itself is smooth."""
    card = load_dataset("dsrsid", overrides=["a.size=[16, 10]", f"b.size={size}"])
    image = np.random.default_rng(0).integers(0, 200, card.b.size)
    b = (image + np.arange(4)[:, None, None, None] + 4 * np.arange(4)[:, None, None]).astype("u1")
    stored = {"a": images(4)["a"].transpose(order), "b": b.transpose(order)}
    with written(tmp_path / "x.h5", stored) as file:
        axes = axes_of_pairs({"a": file["a"], "b": file["b"]}, card, tmp_path)
        assert axes == {"a": order, "b": order}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[:, :, :9], "'a' is 7×1×9×10 uint8, the card says PAN is 1×16×10 uint8"),
        (lambda x: x.astype(np.float32), "'a' is 7×1×16×10 float32, the card says"),
        (lambda x: x.transpose(0, 1, 3, 2), "'a' is 7×1×10×16 uint8"),
        (lambda x: x[0, 0], "'a' is 16×10 uint8"),
        (lambda x: x[None], "'a' is 1×7×1×16×10 uint8"),
    ],
)
def test_other_arrays_are_refused(
    card: DatasetCard, tmp_path: Path, change: object, message: str
) -> None:
    made = images()
    stored = {"a": change(made["a"]), "b": made["b"]}  # type: ignore[operator]
    with written(tmp_path / "x.h5", stored) as file, pytest.raises(UserError, match=message):
        axes_of_pairs({"a": file["a"], "b": file["b"]}, card, tmp_path)
