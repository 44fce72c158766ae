"""The supervised reference of a board: linear probes, in a table apart from retrieval."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace

from crbench.board.tables import DASH, Row, Table, text_table
from crbench.records import ProbeEntry

_TITLE = "Supervised reference: linear probe, not retrieval"
_NOTE = (
    "{classifier}; trained with the labels of {n_train:,} training pairs, judged on the "
    "{n_query:,} queries, macro means over {n_classes} classes; percent, mean ± sd over seeds. It "
    "tells what the embeddings hold, was not used by any row above, and compares with none."
)
_MEASURES = (("accuracy", "accuracy"), ("macro_f1", "macro-F1"), ("macro_map", "macro mAP"))


def probe_table(rows: Sequence[Row], sensors: Mapping[str, str]) -> Table | None:
    """The probes of a board's rows; None where no record holds one."""
    by_row = {row.label: _entries(row) for row in rows}
    known = [entry for parts in by_row.values() for part in parts.values() for entry in part]
    if not known:
        return None
    columns = [
        (modality, key, f"{sensors[modality]} {title}")
        for modality in ("a", "b")
        for key, title in _MEASURES
        if any(getattr(entry, key) is not None for entry in known)
    ]
    lines = [
        [label, *(_mean(parts.get(modality, []), key) for modality, key, _ in columns)]
        for label, parts in by_row.items()
        if parts
    ]
    table = text_table(_TITLE, ["method", *(title for *_, title in columns)], lines)
    return replace(table, notes=(_NOTE.format(**dict(known[0])),))


def _entries(row: Row) -> dict[str, list[ProbeEntry]]:
    by_modality: dict[str, list[ProbeEntry]] = {}
    for record in row.records:
        for modality, entry in (record.probe or {}).items():
            by_modality.setdefault(modality, []).append(entry)
    return by_modality


def _mean(entries: Sequence[ProbeEntry], key: str) -> str:
    values = [100 * value for e in entries if (value := getattr(e, key)) is not None]
    if not values:
        return DASH
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.1f}{spread}"
