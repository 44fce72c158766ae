"""Boards from records: measured rows only, grouped by what makes numbers comparable.

Two runs share a board when dataset, scale, cache digest and protocol are the same, and share a
row when their method card is the same up to the seed. A board says nothing that no record says.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from crbench.board import notes
from crbench.board.tables import CEILING, Board, BoardKey, Cell, Row, average, score_of
from crbench.errors import UserError
from crbench.records import Record, read_record
from crbench.scoring.intervals import over_seeds
from crbench.scoring.significance import ALPHA, Measured, difference_p, holm, paired_p
from crbench.words import DIRECTIONS

_KINDS = ("method", "external", "floor")  # in the order of a board
_FLOOR = "random"  # the untrained encoder: what a method must beat to have learned anything


def read_records(paths: Iterable[Path]) -> list[Record]:
    """All records in files and folders, in a fixed order.

    In a folder of runs these are the files named ``record*.json``; in one without any of that
    name, as ``results/records``, every ``*.json`` is a record.
    """
    by_file: list[tuple[str, Record]] = []
    for path in paths:
        files = [path] if path.is_file() else []
        files = files or sorted(path.rglob("record*.json")) or sorted(path.rglob("*.json"))
        if not files:
            fix = "run `crbench evaluate RUN` first"
            raise UserError("no such record or folder of records", where=path, fix=fix)
        by_file += [(file.as_posix(), read_record(file)) for file in files]
    by_file.sort(key=lambda item: (item[1].created, item[1].run, item[0]))
    return [record for _, record in by_file]


# method, scale, digest of its card, planned epochs, bands in use, index that searched, weights that
# were scored, set that it was trained on if another
RowKey = tuple[str, str, str, int, str, str, str, str]


def boards(records: Sequence[Record]) -> list[Board]:
    """One board per dataset, scale, cache and protocol; the same records give the same boards."""
    groups: dict[BoardKey, list[Record]] = {}
    for record in records:
        data = record.dataset
        key = BoardKey(data.name, data.scale, data.cache_digest, record.protocol.name)
        groups.setdefault(key, []).append(record)
    return [_board(key, groups[key]) for key in sorted(groups)]


def _board(key: BoardKey, records: list[Record]) -> Board:
    first = records[0]
    sensors = {str(which): entry.name for which, entry in first.modalities.items()}
    metrics = tuple(str(metric) for metric in first.dataset.card["headline"])
    rows = _rows(records)
    rows = _with_floors(rows, metrics)
    rows.sort(key=lambda row: _order(row, metrics[0]))
    best = _best(rows)
    probes = None
    if any(record.probe for record in records):
        from crbench.board.probes import probe_table

        probes = probe_table(rows, sensors)
    return Board(
        key=key,
        heading=notes.dataset_title(first),
        setting=notes.setting(first, sensors),
        sensors=sensors,
        metrics=metrics,
        rows=(*rows, *_ceiling(records), _chance(first)),
        best=best,
        not_worse=_not_worse(rows, best),
        notes=tuple(notes.board_notes(records, rows, metrics, sensors)),
        probes=probes,
    )


def _rows(records: list[Record]) -> list[Row]:
    """Records of one method card, trained for the same epochs on the same bands, become one row;
    the last run of a seed counts."""
    groups: dict[RowKey, dict[int, Record]] = {}
    for record in records:  # in order of creation: a later run of the same seed replaces
        method, training = record.method, record.training
        index = str(record.approximate.kind) if record.approximate is not None else "exact"
        on = record.trained_on.cache_digest if record.trained_on else ""
        how = (_planned(record) or 0, _bands(record), index, kept(record), on)
        key = (method.name, method.scale, method.digest, *how)
        groups.setdefault(key, {})[training.seed if training else 0] = record
    labels = _labels({key: next(iter(runs.values())) for key, runs in groups.items()})
    rows = []
    for key, by_seed in groups.items():
        runs = [by_seed[seed] for seed in sorted(by_seed)]
        names = {metric for run in runs for values in run.scores.values() for metric in values}
        cells = {(d, m): _cell(runs, d, m) for d in DIRECTIONS for m in sorted(names)}
        rows.append(Row(key[0], labels[key], runs[0].method.kind, cells, tuple(runs), _marks(runs)))
    return rows


def _planned(record: Record) -> int | None:
    """Epochs that the training was to have; None where there is no statement of it."""
    return record.training.epochs_planned if record.training else None


def _cell(runs: Sequence[Record], direction: str, metric: str) -> Cell | None:
    known = [value for run in runs if (value := score_of(run, direction, metric)) is not None]
    means = [float(value.value) for value in known if value.value is not None]
    if not means:
        return None
    lows = [value.low for value in known if value.low is not None]
    highs = [value.high for value in known if value.high is not None]
    return Cell(
        mean=statistics.fmean(means),
        sd=statistics.stdev(means) if len(means) > 1 else None,
        low=statistics.fmean(lows) if lows else None,
        high=statistics.fmean(highs) if highs else None,
        n=len(means),
    )


def _bands(record: Record) -> str:
    """What the model saw, where it is not every band as stored: ``S2: B02 B03 B04``."""
    seen = []
    for which, entry in record.modalities.items():
        if entry.bands != record.dataset.card[which]["bands"]:
            seen.append(f"{entry.name}: {' '.join(entry.bands)}")
    return ", ".join(seen)


def _labels(firsts: dict[RowKey, Record]) -> dict[Any, str]:
    """Titles, with scale and differing card keys where one method stands in several rows."""
    labels = {}
    for key, record in firsts.items():
        same = [other for k, other in firsts.items() if k[0] == key[0]]
        differing = _differing([flatten(other.method.card) for other in same])
        mine = flatten(record.method.card)
        apart, epochs = {"scale"}, None  # named in words of their own
        if len({_planned(other) for other in same}) > 1:
            apart.add("train.epochs")
            epochs = _planned(record)
        extra = [
            record.method.scale if "scale" in differing else "",
            *(f"{name}={mine.get(name)}" for name in differing if name not in apart),
            f"{epochs} epochs" if epochs is not None else "",
            _bands(record),
            f"approximate, {record.approximate.kind}" if record.approximate is not None else "",
            kept(record) if kept(record) != "last" else "",
            f"trained on {record.trained_on.title}" if record.trained_on else "",
        ]
        differences = ", ".join(filter(None, extra))
        labels[key] = record.method.title + (f" ({differences})" if differences else "")
    return labels


def kept(record: Record) -> str:
    """Which weights were scored: ``last``, or e.g. ``best map on val``."""
    return record.training.checkpoint.partition(",")[0] if record.training else "last"


def flatten(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A card's tables as ``key.sub`` → value."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _differing(cards: list[dict[str, Any]]) -> list[str]:
    keys = sorted({key for card in cards for key in card})
    return [key for key in keys if any(card.get(key) != cards[0].get(key) for card in cards)]


def _marks(runs: Sequence[Record]) -> tuple[str, ...]:
    marks = [notes.origin(runs[0])] if runs[0].method.kind == "external" else []
    marks += [notes.approximate_mark(runs)] if runs[0].approximate is not None else []
    if collapsed := sum(run.collapsed for run in runs):
        marks.append(f"collapsed ({collapsed} of {len(runs)})")
    narrow = sum(bool(run.health.get("narrow_reason")) for run in runs)
    if narrow and runs[0].method.kind != "floor":
        marks.append(f"near collapse ({narrow} of {len(runs)})")
    trainings = [run.training for run in runs if run.training]
    if unfinished := [training for training in trainings if not training.finished]:
        done = unfinished[0]
        marks.append(
            f"unfinished ({len(unfinished)} of {len(runs)}; "
            f"{done.epochs} of {done.epochs_planned} epochs)"
        )
    marks += [faint] if (faint := notes.faint_mark(runs)) else []
    return tuple(marks)


def _with_floors(rows: Sequence[Row], metrics: Sequence[str]) -> list[Row]:
    """Mark the cells that are not shown to be above the untrained encoder's, and the rows where no
    direction is. All tests of a metric are one table's, and Holm corrects for their number."""
    low: dict[int, set[tuple[str, str]]] = {position: set() for position in range(len(rows))}
    for metric in metrics:
        p_values, above = {}, {}
        for position, row in enumerate(rows):
            floor = _floor_of(row, rows)
            for d in DIRECTIONS:
                mine = row.cells.get((d, metric))
                theirs = floor.cells.get((d, metric)) if floor else None
                if mine is None or theirs is None:
                    continue
                p = difference_p(*(Measured(c.mean, c.sd, c.n, c.low, c.high)
                                   for c in (mine, theirs)))  # fmt: skip
                if p is not None:
                    p_values[position, d], above[position, d] = p, mine.mean > theirs.mean
        for (position, d), p in holm(p_values).items():
            if p >= ALPHA or not above[position, d]:
                low[position].add((d, metric))
    marked = []
    for position, row in enumerate(rows):
        at_floor = all((direction, metrics[0]) in low[position] for direction in DIRECTIONS)
        marks = (*row.marks, "not above its floor") if at_floor else row.marks
        marked.append(replace(row, marks=marks, at_floor=frozenset(low[position])))
    return marked


def _floor_of(row: Row, rows: Sequence[Row]) -> Row | None:
    """The untrained encoder of the row's own method where the board has one, else the random
    one; None of floors, and of rows that are untrained themselves."""
    if row.kind == "floor" or _planned(row.records[0]) == 0:
        return None
    own = [r for r in rows if r.name == row.name and _planned(r.records[0]) == 0]
    return next((r for r in (*own, *rows) if r in own or r.name == _FLOOR), None)


def _chance(record: Record) -> Row:
    cells: dict[tuple[str, str], Cell | None] = {}
    for direction, values in record.chance.items():
        for metric, value in values.items():
            cells[direction, metric] = None if value is None else Cell(value, None, None, None, 0)
    return Row("chance", "chance", "chance", cells, (), ())


def _ceiling(records: Sequence[Record]) -> list[Row]:
    """The ceiling of a synthetic set that has one, where a record tells it."""
    known = next((record.ceiling for record in records if record.ceiling), None)
    if known is None:
        return []
    cells: dict[tuple[str, str], Cell | None] = {
        (direction, metric): None if value is None else Cell(value, None, None, None, 0)
        for direction, values in known.items()
        for metric, value in values.items()
    }
    return [Row(CEILING, CEILING, "chance", cells, (), ())]


def _order(row: Row, metric: str) -> tuple[int, float, str]:
    """Methods first, then embeddings of others, then floors, each from the best mean down."""
    return (_KINDS.index(row.kind), -(average(row, metric) or 0.0), row.label)


def _best(rows: Sequence[Row]) -> frozenset[tuple[str, str, str]]:
    """The highest mean per column among rows that were measured, finished and not collapsed."""
    best = set()
    for direction, metric in sorted({key for row in rows for key in row.cells}):
        known = [
            (cell.mean, row.label)
            for row in rows
            if row.sound and (cell := row.cells.get((direction, metric)))
        ]
        top = max((mean for mean, _ in known), default=None)
        best |= {(label, direction, metric) for mean, label in known if mean == top}
    return frozenset(best)


def _not_worse(
    rows: Sequence[Row], best: frozenset[tuple[str, str, str]]
) -> frozenset[tuple[str, str, str]]:
    """The sound rows that are not significantly worse than the best of a column.

    The test: the differences of the two rows' scores, paired by seed, and Student's t; all tests of
    a metric are one table's, and Holm corrects for their number. With fewer than two seeds in
    common there is none. Intervals over queries that overlap are no test and are not used as one.
    """
    sound = {row.label: row for row in rows if row.sound}
    p_values: dict[str, dict[tuple[str, str, str], float]] = {}
    below = set()
    for top, direction, metric in sorted(best):
        theirs = sound[top].by_seed(direction, metric)
        for label, row in sound.items():
            mine = row.by_seed(direction, metric)
            common = sorted(theirs.keys() & mine.keys())
            difference = over_seeds([mine[seed] - theirs[seed] for seed in common])
            key = (label, direction, metric)
            if difference is None or difference.sd is None or key in best:
                continue
            p = paired_p(difference.value, difference.sd, difference.n)
            p_values.setdefault(metric, {})[key] = p
            if difference.value < 0:
                below.add(key)
    adjusted = [item for table in p_values.values() for item in holm(table).items()]
    return frozenset(key for key, p in adjusted if p >= ALPHA or key not in below)
