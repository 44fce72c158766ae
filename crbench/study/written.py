"""The ablation tables that lie in a folder, made again from their records."""

from __future__ import annotations

import csv
from pathlib import Path

from crbench.cards import load_dataset
from crbench.errors import UserError
from crbench.study.cards import load_study
from crbench.study.pages import study_note
from crbench.study.shelf import Shelf
from crbench.study.table import StudyTable, study_table


def written_studies(folder: Path, records: Path) -> list[tuple[StudyTable, str]]:
    """Tables and notes of each ``<dataset>/<study>.csv`` that `crbench ablate` wrote in ``folder``,
    from the records beside it and in ``records``. None where there is no such folder."""
    tables = []
    shelves: dict[Path, Shelf] = {}
    paths = sorted(folder.glob("*/*.csv"))
    paths.sort(key=lambda path: not path.name.startswith("table"))  # the paper's tables first
    for path in paths:
        with path.open(encoding="utf-8", newline="") as handle:
            lines = list(csv.DictReader(handle))
        if not lines or not {"study", "dataset", "scale", "n"} <= lines[0].keys():
            raise UserError("not a table of `crbench ablate`", where=path, fix="make it again")
        first = lines[0]
        card = load_dataset(first["dataset"])
        if path.parent not in shelves:
            shelves[path.parent] = Shelf(card).fill([path.parent / "records", records])
        seeds = max((int(line["n"]) for line in lines if line["n"]), default=1)
        scale = None if first["scale"] == "paper" else first["scale"]
        table = study_table(
            load_study(first["study"]), shelves[path.parent], scale=scale, seeds=seeds
        )
        tables.append((table, study_note(path)))
    return tables
