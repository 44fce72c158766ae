"""Labels of BigEarthNet: 43 CORINE names to 19 classes, as multi-hot rows."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence

import numpy as np

from crbench.cards import card_folder
from crbench.errors import unknown


def classes_of_names() -> dict[str, str]:
    """Class of each of the 43 names, "" for the 11 that belong to none; the names of the 19
    classes, as BigEarthNet v2 has them, stand for themselves."""
    path = card_folder("datasets") / "ben-14k" / "labels_43_to_19.csv"
    with open(path, encoding="utf-8", newline="") as file:
        table = {row["corine_43"]: row["class_19"] for row in csv.DictReader(file)}
    return {**{name: name for name in table.values() if name}, **table}


def multi_hot(
    names: Iterable[str], table: dict[str, str], classes: Sequence[str], *, where: str
) -> np.ndarray:
    """(classes,) uint8: 1 for every class that one of ``names`` belongs to.

    A name that the table does not know is a UserError with the nearest one that it does.
    """
    row = np.zeros(len(classes), dtype=np.uint8)
    for name in names:
        if name not in table:
            raise unknown("label", name, table, where=where)
        if table[name]:
            row[classes.index(table[name])] = 1
    return row
