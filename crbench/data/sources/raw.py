"""What sources of real data share: where they lie, how much is read at once, what is refused."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from crbench.cards import PACKAGE, DatasetCard, ModalityCard
from crbench.data.cache.reading import brief
from crbench.errors import UserError
from crbench.files import sha256_json
from crbench.seeds import derive


def find_folder(card: DatasetCard, source_dir: Path | None, folder: str, probe: str) -> Path:
    """The folder holding ``probe`` (a glob): ``source_dir`` or ``folder`` inside it; without
    ``source_dir`` that of ``$CRBENCH_REAL_DATA``, else of ``../shared/data`` beside the project.

    Raises UserError naming every place that was looked at.
    """
    shared = os.environ.get("CRBENCH_REAL_DATA") or PACKAGE.parent.parent / "shared" / "data"
    base = source_dir or Path(shared)
    for candidate in (base, base / folder):
        if candidate.is_dir() and any(candidate.glob(probe)):
            return candidate
    raise UserError(
        f"the raw data of {card.name} are not there: no {probe}",
        where=f"{base}, {base / folder}",
        fix=how_to_get(card),
    )


def named_source(card: DatasetCard, source_dir: Path | None) -> Path:
    """The file or folder that --source names; where there is none, a UserError."""
    if source_dir is None or not source_dir.exists():
        raise UserError(
            f"the raw data of {card.name} are {'not there' if source_dir else 'needed'}",
            where=source_dir,
            fix=how_to_get(card),
        )
    return source_dir


def how_to_get(card: DatasetCard) -> str:
    """The next step of who does not have the raw data, or not where they were looked for."""
    return f"get them ({card.where}), then: crbench cache build {card.name} --source DIR"


@contextlib.contextmanager
def damage_named(
    what: str, where: object, *kinds: type[Exception], fix: str | None = "get the file again"
) -> Iterator[None]:
    """What a library raises (one of ``kinds``) on a file that is none of its, as a UserError: this
    is ``what`` the file is, with the first line of what the library says. UserErrors pass."""
    try:
        yield
    except UserError:
        raise
    except kinds as error:
        raise UserError(f"{what} ({brief(error)})", where=where, fix=fix) from error


def shape_in_words(shape: Sequence[int], dtype: object) -> str:
    """Shape and dtype in words, ``"3×64×64 uint8"``."""
    return f"{'×'.join(map(str, shape))} {dtype}"


def other_than_card(
    what: str,
    array: Any,
    modality: ModalityCard,
    *,
    where: object,
    fix: str = "correct the card's bands, size or dtype, or mend the data",
    why: str = "",
) -> UserError:
    """An error for an image, or for an array of them, of another shape or dtype than the card's."""
    wanted = (len(modality.bands), *modality.size)
    return UserError(
        f"{what} is {shape_in_words(array.shape, array.dtype)}{why}, the card says "
        f"{modality.name} is {shape_in_words(wanted, modality.dtype)}",
        where=where,
        fix=fix,
    )


def bytes_of_pair(card: DatasetCard) -> int:
    """Bytes that the pixels of both images of a pair take."""
    return sum(
        len(m.bands) * m.size[0] * m.size[1] * np.dtype(m.dtype).itemsize for m in (card.a, card.b)
    )


def pairs_at_once(card: DatasetCard) -> int:
    """Pairs of a block: their pixels take at most 32 MiB, and there are at most 256."""
    return max(1, min(256, 32 * 2**20 // bytes_of_pair(card)))


def numbered(name: str, count: int, digits: int = 1) -> list[str]:
    """Ids for pairs without names, ``name-000`` on, with as many digits as the last one needs."""
    width = max(digits, len(str(count - 1)))
    return [f"{name}-{number:0{width}d}" for number in range(count)]


def counted(numbers: Mapping[str, int]) -> str:
    """``"forest 1,200, river 800"``."""
    return ", ".join(f"{name} {number:,}" for name, number in numbers.items())


def some(texts: Sequence[str], most: int = 5) -> str:
    """The first of ``texts``, and how many more there are."""
    more = len(texts) - most
    return ", ".join(texts[:most]) + (f" and {more:,} more" if more > 0 else "")


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
