"""Labels: 43 names of CORINE to the 19 classes."""

import csv

import numpy as np
import pytest

from crbench.cards import card_folder, load_dataset
from crbench.data.sources.bigearthnet.corine import classes_of_names, multi_hot
from crbench.errors import UserError


def test_43_names_become_19_classes() -> None:
    table = classes_of_names()
    classes = load_dataset("ben-14k").labels.classes
    assert set(table.values()) == {"", *classes}
    with open(card_folder("datasets") / "ben-14k" / "labels_43_to_19.csv", newline="") as file:
        assert len({row["corine_43"] for row in csv.DictReader(file)}) == 43
    without = {name for name, of in table.items() if not of}
    assert without == {
        "Airports", "Bare rock", "Burnt areas", "Construction sites", "Dump sites",
        "Green urban areas", "Intertidal flats", "Mineral extraction sites", "Port areas",
        "Road and rail networks and associated land", "Sport and leisure facilities",
    }  # fmt: skip
    names = ["Salines", "Salt marshes", "Airports", "Estuaries"]
    row = multi_hot(names, table, classes, where="x")
    assert [classes[k] for k in np.flatnonzero(row)] == ["Coastal wetlands", "Marine waters"]
    assert multi_hot(["Airports"], table, classes, where="x").sum() == 0
    assert multi_hot(classes, table, classes, where="x").all()
    with pytest.raises(UserError, match="unknown label 'Vineyard'") as caught:
        multi_hot(["Vineyard"], table, classes, where="x")
    assert "'Vineyards'" in str(caught.value.fix)
