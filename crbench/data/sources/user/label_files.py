"""Labels of a user's pairs, and perhaps their splits: from folders, list files or a CSV table."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np

from crbench.cards import LabelsCard
from crbench.data.sources.raw import damage_named
from crbench.data.sources.user.images import LOADERS
from crbench.errors import UserError, unknown


@dataclass
class Labels:
    """Classes by key: tuples of class numbers, one for a single-label set, () for an unlabelled.

    ``split``: by key, where a table says it. ``listed``: the keys come from a list, so that a file
    which is in none is left aside.
    """

    layout: str
    classes: dict[str, tuple[int, ...]]
    split: dict[str, str] = field(default_factory=dict)
    listed: bool = True
    notes: list[str] = field(default_factory=list)

    def array(self, keys: Sequence[str], card: LabelsCard) -> np.ndarray | None:
        """(N,) int64 classes, (N, C) uint8 multi-hot, or None: what a cache stores."""
        if card.kind == "none":
            return None
        if card.kind == "single":
            return np.array([self.classes[key][0] for key in keys], dtype=np.int64)
        hot = np.zeros((len(keys), len(card.classes)), dtype=np.uint8)
        for row, key in enumerate(keys):
            hot[row, list(self.classes[key])] = 1
        return hot


def _without_ending(name: str) -> str:
    """``name`` less the ending of an image, in POSIX form: a key."""
    path = PurePosixPath(name.strip().replace("\\", "/"))
    return (path.with_suffix("") if path.suffix.lower() in LOADERS else path).as_posix()


def from_folders(keys: Iterable[str], card: LabelsCard, where: Path) -> Labels:
    """The class of a key is the folder that it lies in; an unlabelled set needs no folders."""
    if card.kind == "none":
        return Labels("no labels", dict.fromkeys(keys, ()), listed=False)
    number = {name: (k,) for k, name in enumerate(card.classes)}
    classes_of: dict[str, tuple[int, ...]] = {}
    for key in keys:
        name = PurePosixPath(key).parent.name
        if name not in number:
            raise UserError(
                f"'{key}' lies in no class folder that the card names"
                if not name
                else f"folder '{name}' is no class of the card",
                where=where,
                fix=f"classes of the card: {', '.join(card.classes)}",
            )
        classes_of[key] = number[name]
    return Labels("class folders", classes_of, listed=False)


def from_lists(paths: Sequence[Path], card: LabelsCard) -> Labels:
    """List files: lines of a path and its class, as an index or as 0 and 1 for each class.

    Indices count from 0; lists in which they run from 1 to the number of classes are read so, and
    it is said. A line may stand in several lists, if it says the same. Which list it stands in is
    not taken as a split.
    """
    classes_of: dict[str, tuple[int, ...]] = {}
    form = set()
    for path in paths:
        for number, line in enumerate(_lines(path), start=1):
            if not line.strip() or line.lstrip().startswith("#"):
                continue
            key, classes, hot = _list_line(line, card, f"{path}, line {number}")
            form.add(hot)
            if classes_of.setdefault(key, classes) != classes:
                raise UserError(
                    f"'{key}' has another class here than before",
                    where=f"{path}, line {number}",
                    fix="correct the lists",
                )
    if len(form) > 1:
        raise UserError("some lines have an index, others 0 and 1 for each class", where=paths[0])
    labels = Labels(f"list files ({', '.join(path.name for path in paths)})", classes_of)
    top = len(card.classes)
    if form == {False}:
        numbers = {k for classes in classes_of.values() for k in classes}
        base = 1 if top in numbers and 0 not in numbers else 0
        if wrong := sorted(k for k in numbers if not base <= k < top + base):
            raise UserError(
                f"class index {wrong[0]} is not in 0…{top - 1}",
                where=paths[0],
                fix=f"the card has {top} classes",
            )
        labels.classes = {key: (value[0] - base,) for key, value in classes_of.items()}
        labels.notes.append(f"class indices count from {base}")
    return labels


def from_csv(path: Path, card: LabelsCard) -> Labels:
    """A CSV table with columns id, label (class names or numbers, several joined by ``|``) and
    perhaps split; ids are keys, with or without the ending of an image."""
    rows = csv.DictReader(_lines(path))
    columns = [name.strip() for name in rows.fieldnames or []]
    needed = ["id"] if card.kind == "none" else ["id", "label"]
    if lacking := [name for name in needed if name not in columns]:
        raise UserError(
            f"column '{lacking[0]}' is missing, there are: {', '.join(columns) or 'none'}",
            where=path,
            fix="first line: id,label or id,label,split",
        )
    labels = Labels(f"table {path.name}", {})
    for line, row in enumerate(rows, start=2):
        cells = {str(name).strip(): str(value or "").strip() for name, value in row.items() if name}
        key = _without_ending(cells["id"])
        if key in labels.classes:
            raise UserError(f"id '{key}' comes twice", where=f"{path}, line {line}")
        where = f"{path}, line {line}"
        names = [] if card.kind == "none" else [t for t in cells["label"].split("|") if t.strip()]
        if card.kind == "single" and len(names) != 1:
            raise UserError(f"'{key}' has {len(names)} classes, not one", where=where)
        labels.classes[key] = tuple(
            class_number(name.strip(), card.classes, where) for name in names
        )
        if cells.get("split"):
            labels.split[key] = cells["split"]
    if labels.split and (open_ids := [key for key in labels.classes if key not in labels.split]):
        raise UserError(
            f"'{open_ids[0]}' has no split, others have one",
            where=path,
            fix="fill the column split, or leave it out and give the card a [source.split]",
        )
    return labels


def class_number(name: str, classes: Sequence[str], where: str) -> int:
    """The number of a class given by name, or as a number from 0 on."""
    if name in classes:
        return list(classes).index(name)
    if name.isdigit() and int(name) < len(classes):
        return int(name)
    raise unknown("class", name, classes, where=where)


def looks_like_list(path: Path, classes: int) -> bool:
    """Whether the first line is a path with a number or with ``classes`` numbers behind it."""
    line = next((text for text in _lines(path) if text.strip() and text.lstrip()[0] != "#"), "")
    words = line.split()
    return len(words) >= 2 and all(
        word.isdigit() for word in words[-min(classes, len(words) - 1) :]
    )


def _list_line(line: str, card: LabelsCard, where: str) -> tuple[str, tuple[int, ...], bool]:
    top = len(card.classes)
    words = line.rsplit(maxsplit=top)
    if top > 1 and len(words) == top + 1 and set(words[1:]) <= {"0", "1"}:
        hot = tuple(k for k, word in enumerate(words[1:]) if word == "1")
        if card.kind == "single" and len(hot) != 1:
            raise UserError(f"{len(hot)} classes are marked, not one", where=where)
        return _without_ending(words[0]), hot, True
    words = line.rsplit(maxsplit=1)
    if len(words) != 2 or not words[1].isdigit() or card.kind != "single":
        raise UserError(
            f"'{line.strip()[:80]}' is no path with a class index or {top} numbers 0 and 1",
            where=where,
            fix="correct the line, or the classes of the card",
        )
    return _without_ending(words[0]), (int(words[1]),), False


def _lines(path: Path) -> list[str]:
    with damage_named("cannot be read as text", path, OSError, UnicodeDecodeError, fix=None):
        return path.read_text(encoding="utf-8-sig").splitlines()
