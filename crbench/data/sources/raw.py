"""What sources of real data share: finding the folder, splitting by hash of the id."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from crbench.cards import PACKAGE, DatasetCard
from crbench.errors import UserError
from crbench.files import sha256_json
from crbench.seeds import derive


def find_folder(card: DatasetCard, source_dir: Path | None, folder: str, probe: str) -> Path:
    """The folder holding ``probe`` (a glob): ``source_dir`` or ``folder`` inside it, else
    ``$CRBENCH_REAL_DATA/folder``, else ``../shared/data/folder`` beside the project.

    Raises UserError naming every place that was looked at.
    """
    if source_dir is not None:
        places = [source_dir, source_dir / folder]
    else:
        places = [PACKAGE.parent.parent / "shared" / "data" / folder]
        if named := os.environ.get("CRBENCH_REAL_DATA"):
            places.insert(0, Path(named) / folder)
    for place in places:
        if place.is_dir() and any(place.glob(probe)):
            return place
    raise UserError(
        f"the raw data of {card.name} are not there: no {probe}",
        where=", ".join(str(place) for place in places),
        fix=f"get them ({card.where}), then give their folder with --source or put it under "
        "$CRBENCH_REAL_DATA",
    )


def file_fingerprint(paths: Iterable[Path]) -> str:
    """A digest of the files' names and sizes: tells when a build must start anew."""
    return sha256_json([[path.name, path.stat().st_size] for path in paths])


def split_by_hash(ids: Sequence[str], shares: Mapping[str, float], seed: int) -> dict[str, str]:
    """A split for each id: ids in the order of their hash with ``seed``, cut by ``shares``.

    Depends on the ids and the seed alone, not on their order nor on any library's generator.
    ``shares`` sum to 1; counts are rounded so that they sum to the number of ids.
    """
    ordered = sorted(ids, key=lambda name: (derive("split", seed, name), name))
    result, start, total = {}, 0, 0.0
    for name, share in shares.items():
        total += share
        stop = round(total * len(ordered))
        result.update(dict.fromkeys(ordered[start:stop], name))
        start = stop
    return result
