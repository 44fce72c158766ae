"""Labels from folders, lists and tables: what they say is what is stored, or a line is named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crbench.cards import LabelsCard
from crbench.data.sources.user.label_files import (
    class_array,
    class_number,
    from_csv,
    from_folders,
    from_lists,
    looks_like_list,
)
from crbench.errors import UserError

CLASSES = ["field", "forest", "lake"]
SINGLE, MULTI, NONE = (
    LabelsCard(kind=kind, classes=CLASSES) for kind in ("single", "multi", "none")
)


def lists(tmp_path: Path, *texts: str) -> list[Path]:
    paths = [tmp_path / f"{k}.txt" for k in range(len(texts))]
    for path, text in zip(paths, texts, strict=True):
        path.write_text(text, encoding="utf-8")
    return paths


def test_folders_are_classes(tmp_path: Path) -> None:
    keys = ["raw/lake/1", "raw/field/1", "raw/lake/2"]
    labels = from_folders(keys, SINGLE, tmp_path)
    assert labels.array(keys[::-1]).tolist() == [2, 0, 2]  # type: ignore[union-attr]
    multi = from_folders(keys, MULTI, tmp_path).array(keys[:2])
    assert (
        multi is not None and multi.tolist() == [[0, 0, 1], [1, 0, 0]] and multi.dtype == np.uint8
    )
    assert from_folders(["1"], NONE, tmp_path).array(["1"]) is None
    with pytest.raises(UserError, match="folder 'sea' is no class"):
        from_folders(["sea/1"], SINGLE, tmp_path)
    with pytest.raises(UserError, match="'1' lies in no class folder"):
        from_folders(["1"], SINGLE, tmp_path)


def test_lists_count_from_0_or_1_and_may_say_a_thing_twice(tmp_path: Path) -> None:
    zero = from_lists(lists(tmp_path, "# x\n\na/1.png 0\nb b.tif 2\n", "a/1.png 0"), SINGLE)
    assert list(zero.keys) == ["a/1", "b b"] and zero.array(["b b", "a/1"]).tolist() == [2, 0]  # type: ignore[union-attr]
    assert zero.notes == ["class indices count from 0"]
    one = from_lists(lists(tmp_path, "a 3\nb 2\n"), SINGLE)
    assert one.array(["a", "b"]).tolist() == [2, 1]  # type: ignore[union-attr]
    assert one.notes == ["class indices count from 1"]
    few = from_lists(lists(tmp_path, "a 1\nb 2\n"), SINGLE)  # nothing says that these count from 1
    assert few.array(["a", "b"]).tolist() == [1, 2]  # type: ignore[union-attr]


@pytest.mark.parametrize(("card", "expected"), [(SINGLE, [2, 0]), (MULTI, [[0, 0, 1], [1, 0, 0]])])
def test_lists_of_0_and_1(tmp_path: Path, card: LabelsCard, expected: list[Any]) -> None:
    labels = from_lists(lists(tmp_path, "my photo.png 0 0 1\nb\\c.v2 1 0 0\n"), card)
    array = labels.array(["my photo", "b/c.v2"])
    assert array is not None and array.tolist() == expected and labels.notes == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a 0\nb 4", r"lists: int64 \(2,\), 0 to 4; expected 2 class numbers from 0 to 2"),
        ("a 0\nb", "'b' is no path with a class index or 3 numbers"),
        ("a 0\nb x", "'b x' is no path"),
        ("a 0\na 1", "'a' has another class here than before"),
        ("a 0\nb 0 1 0", "not all lines have an index, or all 0 and 1"),
        ("a 1 0 0\nb 1 0 1", "expected .* a single 1 a row"),
        ("# nothing\n", "not all lines have an index"),
    ],
)
def test_bad_lists(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        from_lists(lists(tmp_path, text), SINGLE)
    assert "0.txt" in str(caught.value.where)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a.png 0\n", True),
        ("# x\n\nmy photo.png 3", True),
        ("a 0 1 0", True),
        ("These are images.", False),
        ("EuroSAT 2018", False),
        ("", False),
    ],
)
def test_lists_are_told_from_other_texts(tmp_path: Path, text: str, expected: bool) -> None:
    assert looks_like_list(*lists(tmp_path, text), len(CLASSES)) == expected


def test_a_table_says_classes_and_splits(tmp_path: Path) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(
        "\ufeffsplit, id , label, etc\ntrain, a/1.png, lake | 0, x\n\nquery,b,,\n", encoding="utf-8"
    )
    labels = from_csv(path, MULTI)
    assert labels.split == {"a/1": "train", "b": "query"} and labels.layout == "table labels.csv"
    assert labels.array(["b", "a/1"]).tolist() == [[0, 0, 0], [1, 0, 1]]  # type: ignore[union-attr]
    assert from_csv(path, NONE).array(["b"]) is None


@pytest.mark.parametrize(
    ("text", "message", "where"),
    [
        ("name,label\n1,field\n", "column 'id' is missing, there are: name, label", ""),
        ("id\n1\n", "column 'label' is missing", ""),
        ("", "column 'id' is missing, there are: none", ""),
        ("id,label\n1,feild\n", "unknown class 'feild'", "line 2"),
        ("id,label\n1,field\n2,field|lake\n", "'2' has 2 classes, not one", "line 3"),
        ("id,label\n1\n", "'1' has 0 classes, not one", "line 2"),
        ("id,label\n1,field\n1.npy,field\n", "id '1' comes twice", "line 3"),
        ("id,label,split\n1,0,train\n2,0,\n", "'2' has no split, others have one", ""),
    ],
)
def test_bad_tables(tmp_path: Path, text: str, message: str, where: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message) as caught:
        from_csv(path, SINGLE)
    assert str(caught.value.where).endswith(where or "labels.csv")


def test_text_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"\xff\xfe\x00")
    for read in (from_csv, lambda path, card: from_lists([path], card)):
        with pytest.raises(UserError, match="cannot be read as text"):
            read(tmp_path / "x.csv", SINGLE)


@pytest.mark.parametrize(("name", "number"), [("lake", 2), ("0", 0), ("2", 2)])
def test_classes_go_by_name_or_number(name: str, number: int) -> None:
    assert class_number(name, CLASSES, "here") == number
    for other in ("3", "-1", "Lake", ""):
        with pytest.raises(UserError, match="unknown class"):
            class_number(other, CLASSES, "here")


@pytest.mark.parametrize(
    ("values", "card", "first", "expected"),
    [
        (np.array([1.0, 3.0]), SINGLE, 1, [0, 2]),
        (np.array([[0, 1, 0], [1, 0, 0]], bool), SINGLE, 0, [1, 0]),
        (np.array([[0, 1, 1], [0, 0, 0]], float), MULTI, 0, [[0, 1, 1], [0, 0, 0]]),
    ],
)
def test_numbers_of_any_dtype_become_classes(
    values: np.ndarray, card: LabelsCard, first: int, expected: list[Any]
) -> None:
    classes = class_array(values, 2, card, what="labels", where="here", first=first)
    assert classes.tolist() == expected
    assert classes.dtype == (np.int64 if card.kind == "single" else np.uint8)


@pytest.mark.parametrize(
    ("values", "card"),
    [
        (np.array([0, 3]), SINGLE),
        (np.array([0.5, 1]), SINGLE),
        (np.array([np.nan, 1]), SINGLE),
        (np.array([0, 1, 2]), SINGLE),
        (np.array([[1, 1, 0], [1, 0, 0]]), SINGLE),
        (np.array([0, 1]), MULTI),
        (np.array([[2, 0, 0], [0, 0, 0]]), MULTI),
        (np.array(["field", "lake"]), MULTI),
    ],
)
def test_numbers_that_are_no_classes_are_refused(values: np.ndarray, card: LabelsCard) -> None:
    with pytest.raises(UserError, match=r"labels: .*; expected") as caught:
        class_array(values, 2, card, what="labels", where="here")
    assert caught.value.where == "here" and caught.value.fix
