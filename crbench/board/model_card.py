"""The README.md that goes with a pushed run, made from its statement and its records alone."""

from __future__ import annotations

import json
from pathlib import Path

from crbench.board.html import page
from crbench.board.tables import percent
from crbench.files import read_json
from crbench.records import Record, Value, read_record

TAGS = ("remote-sensing", "cross-modal-retrieval", "jepa", "crbench")


def model_card(run: Path) -> str:
    """Markdown with what it is, scores, data, protocol, use and licences; ``run`` is finished.

    The hub's header names no licence: that of the weights is for who pushes them to state.
    """
    info = read_json(run / "run.json")
    return page(
        "model_card.md",
        info=info,
        method=info["method"],
        data=info["dataset"],
        sensors=[info["dataset"][which] for which in ("a", "b")],
        records=[read_record(path) for path in sorted(run.glob("record*.json"))],
        command=json.dumps(info["command"], ensure_ascii=False)[1:-1],
        tags=TAGS,
        interval=_interval,
        sensor_names=_sensor_names,
    )


def _sensor_names(record: Record) -> dict[str, str]:
    return {str(which): entry.name for which, entry in record.modalities.items()}


def _interval(score: Value | None) -> str:
    """A score in percent with its interval over queries, as far as they are known."""
    value = percent(score.value if score else None)
    if score is None or score.value is None or score.low is None:
        return value
    return f"{value} ({percent(score.low)}–{percent(score.high)})"
