"""The sentences under a board: protocol, metrics, ties, intervals, marks. All read from records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crbench import words as names
from crbench.board.tables import AT_FLOOR, NOT_WORSE, Row
from crbench.records import Record
from crbench.scoring.significance import detectable, pooled
from crbench.words import DIRECTIONS, arrow

_RULE = (
    f"{NOT_WORSE}: not significantly worse than the bold value: two-sided p ≥ .05 of the "
    "difference to it, paired by seed (Student's t), corrected for the number of tests in the "
    "table (Holm). Only rows that share two seeds or more with the bold row can be tested: a row "
    "of one run has no such mark, whatever its value. The mark says that this table cannot tell "
    "the two apart, not that they are equal: see its power."
)


_CEILING = (
    "ceiling: items ranked by their expected relevance, given what the query's and the gallery's "
    "sensor see of the factors that made the scenes, and scored with the labels; computed, not "
    "run. No score that follows from what the two sensors see has a higher expectation in P@k and "
    "in F1 by item; for mAP it is an approximation of the best."
)
LEAST_SHARE = 0.01  # a loss term below this share of the gradient hardly takes part in a training


def setting(record: Record, sensors: dict[str, str]) -> str:
    """What makes the rows of a board comparable beside the dataset."""
    return (
        f"{sensors['a']} / {sensors['b']} · protocol {record.protocol.name} · "
        f"cache {record.dataset.cache_digest[:12]}"
    )


def dataset_title(record: Record) -> str:
    """The dataset, and what kind of data it is where its title does not say so."""
    data = record.dataset
    kind = ["synthetic"] if data.synthetic else []
    kind += [data.note] if data.note and data.note.lower() != "synthetic" else []
    if all(word.lower() in data.title.lower() for word in kind):
        kind = []
    kind += [f"scale {data.scale}"] if data.scale != "default" else []
    return f"{data.title} ({', '.join(kind)})" if kind else data.title


def protocol_note(record: Record, sensors: dict[str, str]) -> str:
    """Which items were queries, which the gallery, and what became of the query itself."""
    protocol = record.protocol
    text = (
        f"Protocol `{protocol.name}`: queries = {' + '.join(protocol.query)} "
        f"({protocol.n_query:,} items), gallery = {' + '.join(protocol.gallery)} "
        f"({protocol.n_gallery:,} items)."
    )
    if protocol.exclude == "place":
        text += " Everything from the query's own place (tile or scene) is left out of the gallery."
    elif protocol.exclude == "pair":
        text += (
            " The query's own pair is left out of the gallery in all directions, so that there is "
            "no pair recall."
        )
    elif set(protocol.query) & set(protocol.gallery):
        same = f"{arrow('aa', sensors)} and {arrow('bb', sensors)}"
        cross = f"{arrow('ab', sensors)} and {arrow('ba', sensors)}"
        text += (
            f" In {same} the query itself is left out of the gallery; "
            f"in {cross} its own pair stays in, which favours them" + _without_pair(record) + "."
        )
    if protocol.name == (default := record.dataset.card["protocol"]):
        text += " This is the card's default."
    else:
        text += f" The card's default is `{default}`."
    seen = [split for split in protocol.gallery if split in record.dataset.card["train_splits"]]
    if seen:
        text += f" The gallery holds the training pairs ({' + '.join(seen)}), without their labels."
    return text


def _without_pair(record: Record) -> str:
    """Names the protocol of the record's card that ranks the same sets without the own pair."""
    used, protocols = record.protocol, record.dataset.card["protocols"]
    names_of = [
        name
        for name, other in protocols.items()
        if other.get("exclude") == "pair"
        and (other["query"], other["gallery"]) == (used.query, used.gallery)
    ]
    return f"; `--protocol {names_of[0]}` leaves it out" if names_of else ""


def board_notes(
    records: Sequence[Record],
    rows: Sequence[Row],
    metrics: Sequence[str],
    sensors: dict[str, str],
) -> list[str]:
    """Every definition a reader needs, one per line, for the Markdown under a board."""
    first = records[0]
    label_kind = first.dataset.card["labels"]["kind"]
    lines = [
        protocol_note(first, sensors),
        *(
            f"{names.title(m)}: {names.definition(m, label_kind)}. `{m}` in records."
            for m in metrics
        ),
        f"Similarity: {first.protocol.similarity}. Ties: {first.protocol.ties}.",
        "Values are percent. ± is the sd over seeds (trainings), n their number; low and high "
        f"bound the 95 % bootstrap interval over {drawn_anew(records)} ({first.resamples:,} "
        "resamples), averaged over the runs of the row. They measure different things: another "
        "training, other queries.",
        "mean: the mean of the four directions. chance: a random ranking, computed from the "
        "labels, not run. Floors are marked: cheap rows that tell how much a method has learned.",
        *([_CEILING] if any(record.ceiling for record in records) else []),
        "Bold: the highest mean in its column among finished rows that were searched exactly and "
        "did not collapse.",
        _RULE,
        *(text for metric in metrics if (text := power_note(rows, metric))),
    ]
    if any(row.at_floor for row in rows):
        lines.append(
            f"{AT_FLOOR}: not shown to be above the untrained encoder (of its own method where the "
            "board has that row, else 'Random encoder'): two-sided p ≥ .05 of the difference of "
            "the means, or a mean below it; Welch's t with the variances over seeds and over "
            "queries of both rows added up, corrected for the number of tests in the table (Holm). "
            "Records hold no values of single queries, so the queries are not paired, which errs "
            "towards this mark; `crbench evaluate A --compare B` pairs them."
        )
    if any("collapsed" in mark for row in rows for mark in row.marks):
        reasons = sorted(
            {str(r.health.get("collapsed_reason") or "") for r in records if r.collapsed} - {""}
        )
        lines.append("collapsed: the embeddings hardly differ. " + "; ".join(reasons))
    if any("near collapse" in mark for row in rows for mark in row.marks):
        narrow = [
            f"{row.label}: {reasons[0]}"
            for row in rows
            if (
                reasons := [str(why) for r in row.records if (why := r.health.get("narrow_reason"))]
            )
            and row.kind != "floor"
        ]
        lines.append("near collapse: little of the space is used. " + "; ".join(narrow))
    if any("unfinished" in mark for row in rows for mark in row.marks):
        lines.append("unfinished: training stopped before its last planned epoch.")
    if any("of the gradient" in mark for row in rows for mark in row.marks):
        lines.append(
            "of the gradient: that loss term has less than 1 % of the sum of all terms' gradient "
            "norms at the first, the middle and the last step, so that the row says nothing of it."
        )
    lines += [_approximate_note(row) for row in rows if row.records[0].approximate is not None]
    lines += [_run_note(row, sensors) for row in rows]
    return lines


def power_note(rows: Sequence[Row], metric: str) -> str:
    """The smallest difference that a table can tell, at the seeds and the queries of its rows; ""
    where no spread is known. Each from the pooled spread of the cells of methods."""
    cells = [
        cell
        for row in rows
        if row.sound and row.kind != "floor"
        for d in DIRECTIONS
        if (cell := row.cells.get((d, metric)))
    ]
    parts = []
    repeated = [(cell.sd, cell.n) for cell in cells if cell.sd is not None]
    if repeated:
        n, sd = min(n for _, n in repeated), pooled([sd for sd, _ in repeated])
        least = detectable(sd * (2 / n) ** 0.5, 2 * n - 2)
        parts.append(f"{100 * least:.1f} points between trainings ({n} seeds a row)")
    widths = [c.high - c.low for c in cells if c.low is not None and c.high is not None]
    if widths:
        least = detectable(pooled(widths) / (2 * 1.96) * 2**0.5)
        parts.append(f"{100 * least:.1f} points between queries, unpaired")
    if not parts:
        return ""
    return (
        f"Power, {names.title(metric)}: the smallest difference of two rows in one direction that "
        f"is found with 80 % power at α = .05 (two-sided, before Holm): {'; '.join(parts)}."
    )


def drawn_anew(records: Sequence[Record]) -> str:
    """What the intervals of ``records`` draw: queries, or the places (scenes) that hold them."""
    kinds = {record.protocol.resample for record in records}
    if kinds == {"query"}:
        return "queries"
    blocks = {count for record in records for part in record.counts.values()
              if (count := part.get("n_blocks"))}  # fmt: skip
    numbers = " or ".join(map(str, sorted(blocks)))
    places = f"the {numbers} places (scenes) of the queries, by Student's t"
    return places if kinds == {"place"} else f"queries, in some rows over {places}"


def origin(record: Record) -> str:
    """Where the embeddings of a row of kind ``external`` come from."""
    encoder = record.method.card.get("encoder")
    if encoder:
        return f"frozen encoder {encoder}, weights: {record.method.card.get('weights')}"
    return "embeddings of an external program"


def served(record: Record, sensors: Mapping[str, str]) -> dict[str, list[str]]:
    """The directions that each head or view served, or each pair of them."""
    ways: dict[str, list[str]] = {}
    for direction in DIRECTIONS:
        serves = record.serves.get(direction)  # type: ignore[call-overload]
        if serves is not None:
            how = serves.query
            if serves.query != serves.gallery:
                how = f"{serves.query} against {serves.gallery}"
            ways.setdefault(how, []).append(arrow(direction, sensors))
    return ways


def _run_note(row: Row, sensors: dict[str, str]) -> str:
    """How a row's runs were made: seeds, scale, epochs, machine, and what served which way."""
    first = row.records[0]
    views = "; ".join(f"{', '.join(ways)} by {how}" for how, ways in served(first, sensors).items())
    training = first.training
    if training is None:
        file = f"{first.method.card.get('file', 'file')} (SHA-256 {first.method.digest[:12]})"
        return f"{row.label}: {origin(first)}, {file}; their training is not stated; {views}."
    seeds = ", ".join(map(str, row.seeds))
    kept = training.checkpoint.partition(",")[0]
    trained = (
        f"{training.epochs} epochs on {training.n_train:,} pairs, {kept} checkpoint"
        if training.epochs
        else "not trained by epochs"
    )
    runs = ", ".join(f"`{record.run}`" for record in row.records)
    return (
        f"{row.label}: scale {first.method.scale}, {trained}, "
        f"seed{'s' if row.n > 1 else ''} {seeds}, {training.device}; {views}; "
        f"record{'s' if row.n > 1 else ''} {runs}."
    )


def approximate_mark(runs: Sequence[Record]) -> str:
    """The mark of a row that was not searched exactly, with its lowest recall at any k."""
    entries = [run.approximate for run in runs if run.approximate is not None]
    least = min(value for e in entries for found in e.recall.values() for value in found.values())
    found = "100" if least == 1 else f"{100 * least:.1f} or more"
    return f"approximate ({entries[0].kind}, recall {found})"


def faint_terms(runs: Sequence[Record]) -> dict[str, float]:
    """The loss terms whose share of the gradient stayed below ``LEAST_SHARE`` at every point at
    which it was measured, in every run, with the largest share that each had."""
    largest: dict[str, float] = {}
    for run in runs:
        measured = run.training.gradient_shares if run.training else {}
        for at in measured.values():
            for term, share in at.items():
                largest[term] = max(share, largest.get(term, 0.0))
    return {term: share for term, share in largest.items() if share < LEAST_SHARE}


def faint_mark(runs: Sequence[Record]) -> str:
    """The mark of a row with such terms, e.g. ``sig ≤ 0.4 % of the gradient``; "" without."""
    texts = [f"{term} ≤ {100 * share:.1g} %" for term, share in faint_terms(runs).items()]
    return f"{', '.join(texts)} of the gradient" if texts else ""


def _approximate_note(row: Row) -> str:
    """How the candidates of a row were found, and how many of the true ones are among them."""
    entry = row.records[0].approximate
    assert entry is not None
    settings = "; ".join(
        f"{direction} " + ", ".join(f"{name}={value}" for name, value in parameters.items())
        for direction, parameters in entry.parameters.items()
    )
    return (
        f"{row.label}: the top k were searched by a FAISS index ({entry.kind}: {settings}), not "
        f"exactly; recall is its share of the exact top k, at the worst k, on {entry.sample:,} "
        "queries. No mAP, and never bold."
    )
