"""``crbench evaluate A --compare B``: two methods on the same queries, paired query by query."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crbench.data.cache.reading import Cache
from crbench.errors import UserError
from crbench.evaluation.evaluate import RESAMPLES, pick_protocol, query_and_gallery
from crbench.evaluation.scorable import Scorable, ScorableFile, open_scorable, protocol_entry
from crbench.files import check_writable
from crbench.records import ProtocolEntry
from crbench.run.devices import Ranks
from crbench.scoring import PerQuery, compare, per_query
from crbench.seeds import derive
from crbench.words import KS

Difference = dict[str, float | int | None]


@dataclass(frozen=True)
class Comparison:
    """``differences[direction][metric]``: mean of a minus mean of b, its 95 % interval and p."""

    a: tuple[str, ...]
    b: tuple[str, ...]
    data: Cache
    protocol: ProtocolEntry
    differences: dict[str, dict[str, Difference]]


def compare_runs(
    a: Sequence[Path],
    b: Sequence[Path],
    *,
    dataset: str | None = None,
    protocol: str | None = None,
    cache: str | Path | None = None,
    out: str | Path | None = None,
    device: str = "auto",
    quiet: bool = False,
) -> Comparison:
    """Paired bootstrap of the differences of ``a`` minus ``b``, run folders or embedding files.

    Several paths on a side, or patterns such as ``runs/x/seed*``, are trainings of one method with
    other seeds. A file is scored on the dataset of the runs, or on ``dataset``. Other datasets,
    caches or protocols on the two sides are a UserError.
    """
    if out is not None:
        check_writable(out)
    paths = [_expand(a), _expand(b)]
    both = [*paths[0], *paths[1]]
    if len({path.resolve() for path in both}) < len(both):
        raise UserError("a path is given twice", where=", ".join(map(str, both)))
    compared = _open(both, dataset, cache)
    data = compared[0].cache
    for scorable in compared[1:]:
        _same(compared[0], scorable)
    name = pick_protocol(data, protocol)
    chosen = data.card.protocols[name]
    for scorable in compared[1:]:
        if scorable.cache.card.protocols.get(name) != chosen:
            raise UserError(f"protocol '{name}' means something else here", where=scorable.path,
                            fix="compare runs that were trained with one dataset card")  # fmt: skip
    query, gallery = query_and_gallery(data, chosen)

    def measured(scorable: Scorable) -> dict[str, PerQuery]:
        vectors = scorable.embed(device, Ranks(), quiet)
        return per_query(
            vectors.pairs(query.ids, gallery.ids),
            query,
            gallery,
            label_kind=data.card.labels.kind,
            n_classes=len(data.card.labels.classes),
        )

    values = [measured(scorable) for scorable in compared]
    split = len(paths[0])
    differences = compare(
        values[:split],
        values[split:],
        ks=KS,
        resamples=RESAMPLES,
        seed=derive("bootstrap", data.digest, name),
    )
    if not differences:
        raise UserError("the two have no direction in common", where=compared[-1].path)
    return Comparison(
        tuple(str(path) for path in paths[0]),
        tuple(str(path) for path in paths[1]),
        data,
        protocol_entry(name, query, gallery, data),
        differences,
    )


def _expand(paths: Sequence[Path]) -> list[Path]:
    """Patterns as the paths that they match, in their order; one that matches none is an error."""
    expanded: list[Path] = []
    for path in paths:
        if glob.has_magic(str(path)) and not path.exists():
            matches = sorted(glob.glob(str(path)))
            if not matches:
                raise UserError("nothing matches this pattern", where=path, fix="check the path")
            expanded += map(Path, matches)
        else:
            expanded.append(path)
    return expanded


def _open(paths: Sequence[Path], dataset: str | None, cache: str | Path | None) -> list[Scorable]:
    """Runs first: where there is one, its dataset and cache are those of the files."""
    runs = {path: open_scorable(path, cache=cache) for path in paths if path.is_dir()}
    shared = next((run.cache for run in runs.values()), None) if dataset is None else None

    def opened(path: Path) -> Scorable:
        if shared is not None and path.is_file():
            return ScorableFile(path, shared)
        return runs.get(path) or open_scorable(path, dataset=dataset, cache=cache)

    return [opened(path) for path in paths]


def _same(first: Scorable, other: Scorable) -> None:
    mine, theirs = first.cache, other.cache
    if (mine.card.name, mine.digest) != (theirs.card.name, theirs.digest):
        raise UserError(
            f"these are scored on other data: {mine.card.name} ({mine.digest[:12]}) and "
            f"{theirs.card.name} ({theirs.digest[:12]})",
            where=f"{first.path} and {other.path}",
            fix="compare runs of one dataset and one cache",
        )
