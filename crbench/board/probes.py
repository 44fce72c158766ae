"""The supervised reference of a board: linear probes, in a table apart from retrieval."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from crbench.board.board import Board, Row
from crbench.records import ProbeEntry

TITLE = "Supervised reference: linear probe, not retrieval"
NOTE = (
    "{classifier}; trained with the labels of {n_train:,} training pairs, judged on the "
    "{n_query:,} queries, macro means over {n_classes} classes; percent, mean ± sd over seeds. It "
    "tells what the embeddings hold, was not used by any row above, and compares with none."
)
MEASURES = (("accuracy", "accuracy"), ("macro_f1", "macro-F1"), ("macro_map", "macro mAP"))


def probe_table(board: Board) -> tuple[list[str], list[list[str]], str] | None:
    """Head, lines and note of the board's probes; None where no record holds one."""
    entries = {row.label: _entries(row) for row in board.rows}
    known = [entry for found in entries.values() for part in found.values() for entry in part]
    if not known:
        return None
    columns = [
        (modality, key, f"{board.sensors[modality]} {title}")
        for modality in ("a", "b")
        for key, title in MEASURES
        if any(getattr(entry, key) is not None for entry in known)
    ]
    lines = [
        [label, *(_cell(found.get(modality, []), key) for modality, key, _ in columns)]
        for label, found in entries.items()
        if found
    ]
    first = known[0]
    said = {key: getattr(first, key) for key in ("classifier", "n_train", "n_query", "n_classes")}
    return ["method", *(title for *_, title in columns)], lines, NOTE.format(**said)


def _entries(row: Row) -> dict[str, list[ProbeEntry]]:
    found: dict[str, list[ProbeEntry]] = {}
    for record in row.records:
        for modality, entry in (record.probe or {}).items():
            found.setdefault(modality, []).append(entry)
    return found


def _cell(entries: Sequence[ProbeEntry], key: str) -> str:
    values = [100 * value for e in entries if (value := getattr(e, key)) is not None]
    if not values:
        return "–"
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{spread}"
