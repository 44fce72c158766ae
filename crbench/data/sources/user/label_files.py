"""Labels of a user's pairs, and perhaps their splits: from folders, list files or a CSV table."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from crbench.cards import LabelsCard
from crbench.data.sources.raw import damage_named
from crbench.data.sources.user.images import LOADERS
from crbench.errors import UserError, unknown


@dataclass
class Labels:
    """``classes`` of ``keys``, as a cache stores them; None for an unlabelled set.

    ``split``: by key, where a table says it. A file whose key is not among ``keys`` is left aside.
    """

    layout: str
    keys: Sequence[str]
    classes: np.ndarray | None
    split: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def array(self, keys: Sequence[str]) -> np.ndarray | None:
        """(N,) int64 classes, (N, C) uint8 multi-hot, or None, of some of the keys."""
        rows = {key: row for row, key in enumerate(self.keys)}
        return None if self.classes is None else self.classes[[rows[key] for key in keys]]


def from_folders(keys: Sequence[str], card: LabelsCard, where: Path) -> Labels:
    """The class of a key is the folder that it lies in; an unlabelled set needs no folders."""
    if card.kind == "none":
        return Labels("no labels", keys, None)
    numbers = []
    for key in keys:
        name = PurePosixPath(key).parent.name
        if name not in card.classes:
            raise UserError(
                f"folder '{name}' is no class of the card"
                if name
                else f"'{key}' lies in no class folder that the card names",
                where=where,
                fix=f"classes of the card: {', '.join(card.classes)}",
            )
        numbers.append([card.classes.index(name)])
    return Labels("class folders", keys, _stored(numbers, card))


def from_lists(paths: Sequence[Path], card: LabelsCard) -> Labels:
    """List files: lines of a path and its class, as an index or as 0 and 1 for each class.

    Indices count from 0; lists in which they run from 1 to the number of classes are read so, and
    it is said. A line may stand in several lists, if it says the same. Which list it stands in is
    not taken as a split.
    """
    top = len(card.classes)
    numbers_of: dict[str, list[int]] = {}
    for path in paths:
        for where, line in _rows(path):
            key, numbers = _list_line(line, top)
            if not numbers:
                raise UserError(
                    f"'{line[:80]}' is no path with a class index or {top} numbers 0 and 1",
                    where=where,
                    fix="correct the line, or the classes of the card",
                )
            if numbers_of.setdefault(key, numbers) != numbers:
                what = f"'{key}' has another class here than before"
                raise UserError(what, where=where, fix="correct the lists")
    rows = list(numbers_of.values())
    if len({len(row) for row in rows}) != 1:
        raise UserError(
            "not all lines have an index, or all 0 and 1 for each class", where=paths[0]
        )
    values, first, notes = np.array(rows), 0, []
    if values.shape[1] == 1:
        values = values[:, 0]
        first = int(values.min() > 0 and values.max() == top)
        notes = [f"class indices count from {first}"]
    classes = class_array(values, len(rows), card, what="lists", where=paths[0], first=first)
    layout = f"list files ({', '.join(path.name for path in paths)})"
    return Labels(layout, list(numbers_of), classes, notes=notes)


def from_csv(path: Path, card: LabelsCard) -> Labels:
    """A CSV table with columns id, label (class names or numbers, several joined by ``|``) and
    perhaps split; ids are keys, with or without the ending of an image."""
    rows = csv.DictReader(_lines(path), restval="", skipinitialspace=True)
    columns = rows.fieldnames = [name.strip() for name in rows.fieldnames or ()]
    needed = ["id"] if card.kind == "none" else ["id", "label"]
    if lacking := [name for name in needed if name not in columns]:
        raise UserError(
            f"column '{lacking[0]}' is missing, there are: {', '.join(columns) or 'none'}",
            where=path,
            fix="first line: id,label or id,label,split",
        )
    numbers_of: dict[str, list[int]] = {}
    split: dict[str, str] = {}
    for row in rows:
        where, key = f"{path}, line {rows.line_num}", _without_ending(row["id"])
        cell = "" if card.kind == "none" else row["label"]
        names = [name.strip() for name in cell.split("|") if name.strip()]
        if key in numbers_of:
            raise UserError(f"id '{key}' comes twice", where=where)
        if card.kind == "single" and len(names) != 1:
            raise UserError(f"'{key}' has {len(names)} classes, not one", where=where)
        numbers_of[key] = [class_number(name, card.classes, where) for name in names]
        if name := row.get("split", "").strip():
            split[key] = name
    if split and (without := [key for key in numbers_of if key not in split]):
        raise UserError(
            f"'{without[0]}' has no split, others have one",
            where=path,
            fix="fill the column split, or leave it out and give the card a [source.split]",
        )
    classes = _stored(list(numbers_of.values()), card)
    return Labels(f"table {path.name}", list(numbers_of), classes, split)


def class_number(name: str, classes: Sequence[str], where: str) -> int:
    """The number of a class given by name, or as a number from 0 on."""
    if name in classes:
        return list(classes).index(name)
    if name.isdigit() and int(name) < len(classes):
        return int(name)
    raise unknown("class", name, classes, where=where)


def class_array(
    values: np.ndarray, n: int, card: LabelsCard, *, what: str, where: object, first: int = 0
) -> np.ndarray:
    """(n,) int64 classes from 0 on, or (n, C) uint8 multi-hot: ``values`` of any dtype of numbers.

    They are class numbers (n,) from ``first`` on, or 0 and 1 for each class (n, C), a single 1 in
    a row of a single-label set. Anything else is a UserError.
    """
    top, single = len(card.classes), card.kind == "single"
    if single and values.shape == (n,) and np.isin(values, np.arange(first, first + top)).all():
        return values.astype(np.int64) - first
    if values.shape == (n, top) and np.isin(values, (0, 1)).all():
        if not single:
            return values.astype(np.uint8)
        if (values.sum(1) == 1).all():
            return values.argmax(1).astype(np.int64)
    span = f", {values.min():g} to {values.max():g}" if values.dtype.kind in "iuf" and n else ""
    numbers = f"{n} class numbers from {first} to {first + top - 1}, or " if single else ""
    rows = f"0 and 1 for each class, {(n, top)}{', a single 1 a row' if single else ''}"
    raise UserError(
        f"{what}: {values.dtype} {values.shape}{span}; expected {numbers}{rows}",
        where=where,
        fix="correct labels.kind or labels.classes in the card, or the labels",
    )


def looks_like_list(path: Path, classes: int) -> bool:
    """Whether the first line is a path with a class or with ``classes`` numbers behind it."""
    _, line = next(_rows(path), ("", ""))
    numbers = _list_line(line, classes)[1]
    return bool(numbers) and max(numbers) <= classes


def _list_line(line: str, top: int) -> tuple[str, list[int]]:
    """Key and numbers of a line: ``top`` times 0 or 1, else the last one; none where none are."""
    words = line.rsplit(maxsplit=top)
    if len(words) <= top or not {"0", "1"}.issuperset(words[1:]):
        words = line.rsplit(maxsplit=1)
    numbers = [int(word) for word in words[1:] if word.isdecimal()]
    return _without_ending(words[0]) if words else "", numbers


def _rows(path: Path) -> Iterator[tuple[str, str]]:
    """Where they stand and what they say: lines that are neither empty nor comments."""
    for number, line in enumerate(_lines(path), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            yield f"{path}, line {number}", line.strip()


def _lines(path: Path) -> list[str]:
    with damage_named("cannot be read as text", path, OSError, UnicodeDecodeError, fix=None):
        return path.read_text(encoding="utf-8-sig").splitlines()


def _without_ending(name: str) -> str:
    """``name`` less the ending of an image, in POSIX form: a key."""
    path = PurePosixPath(name.strip().replace("\\", "/"))
    return (path.with_suffix("") if path.suffix.lower() in LOADERS else path).as_posix()


def _stored(numbers: Sequence[Sequence[int]], card: LabelsCard) -> np.ndarray | None:
    """(n,) int64 classes, (n, C) uint8 multi-hot, or None, of the class numbers of each key."""
    if card.kind == "none":
        return None
    if card.kind == "single":
        return np.array([row[0] for row in numbers], dtype=np.int64)
    hot = np.zeros((len(numbers), len(card.classes)), dtype=np.uint8)
    for row, classes in enumerate(numbers):
        hot[row, classes] = 1
    return hot
