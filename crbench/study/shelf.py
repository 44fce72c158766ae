"""The runs of a study that exist: their records, found by card and seed, and why others failed.

A run that any record already holds is not made again, whichever study or command made it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crbench.cards import DatasetCard, MethodCard, parse
from crbench.errors import UserError
from crbench.files import read_json, write_json
from crbench.machine import now_utc
from crbench.records import Record, read_record
from crbench.study.cards import RUNS, Job


@dataclass
class Shelf:
    """Records that exist, found by card and seed, for one dataset as its card uses it.

    ``cache_digest`` None takes the pixels of the newest record of the dataset: a table is made
    anew from committed records without the cache. Cards are compared as they parse today, so that
    a new key with a default does not disown old records.
    """

    dataset: DatasetCard
    cache_digest: str | None = field(default=None, kw_only=True)
    records: dict[tuple[str, int], tuple[Path, Record]] = field(default_factory=dict)

    def fill(self, folders: Iterable[Path]) -> Shelf:
        """Read the records in ``folders`` of records and of runs; what else lies there is passed
        over, and folders that do not exist hold none."""
        fitting = [
            (path, record)
            for folder in folders
            for path in folder.rglob("*.json")
            if _is_record(path) and self._fits(record := read_record(path))
        ]
        fitting.sort(key=lambda item: (item[1].created, item[0].as_posix()))
        if self.cache_digest is None and fitting:
            self.cache_digest = fitting[-1][1].dataset.cache_digest
        for path, record in fitting:
            if record.dataset.cache_digest == self.cache_digest:
                card = parse(MethodCard, record.method.card, where=str(path))
                # the first made stays: a table must not change because a run was repeated
                seed = record.training.seed if record.training else 0
                self.records.setdefault((card.digest, seed), (path, record))
        return self

    def _fits(self, record: Record) -> bool:
        """Whether a record is of this dataset, as it is used, and of a whole training."""
        training, shown = record.training, {m: e.bands for m, e in record.modalities.items()}
        return (
            record.dataset.name == self.dataset.name
            and record.protocol.name == self.dataset.protocol
            and training is not None
            and record.trained_on is None
            and training.finished
            and training.checkpoint == "last"
            and record.approximate is None
            and record.dataset.card.get("normalise") == self.dataset.normalise
            and shown == {m: self.dataset.modality(m).used for m in ("a", "b")}
        )

    def get(self, job: Job) -> Record | None:
        """The record of a run, or None."""
        return self.records.get(job.key, (None, None))[1]

    def path(self, job: Job) -> Path | None:
        """Where that record lies."""
        return self.records.get(job.key, (None, None))[0]


def _is_record(path: Path) -> bool:
    data = read_json(path)
    return isinstance(data, dict) and "scores" in data and "protocol" in data


def write_failure(path: str, error: UserError, command: Sequence[str]) -> None:
    """Keep in ``path`` (see ``Job.aside``) why a run failed."""
    problem = {"what": error.what, "where": error.where, "fix": error.fix}
    write_json(path, {**problem, "created": now_utc(), "command": command})


def last_failure(job: Job, root: Path = RUNS) -> dict[str, Any] | None:
    """Why the last try of a run failed, or None."""
    path = job.aside("failures", root)
    return read_json(path) if path.is_file() else None
