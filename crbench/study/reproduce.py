"""Make a record again by its own commands, and hold the new scores against the old ones."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from crbench.board.tables import score_of
from crbench.errors import UserError
from crbench.records import Record, read_record
from crbench.study.commands import record_steps
from crbench.study.launch import own_process
from crbench.words import DIRECTIONS

POINTS = 0.5  # on another processor training rounds differently, and so do its scores


@dataclass(frozen=True)
class ScorePair:
    """One metric in one direction, as fractions: in the record, and made again."""

    direction: str
    metric: str
    recorded: float | None
    measured: float | None

    @property
    def points(self) -> float:
        """Distance in percentage points; 0 where neither is defined, else infinite for one."""
        if self.recorded is None or self.measured is None:
            return 0.0 if self.recorded is self.measured else float("inf")
        return 100 * abs(self.measured - self.recorded)


@dataclass(frozen=True)
class Outcome:
    """A record made again, and how it compares in the metrics of the board."""

    record: Record
    again: Record
    path: Path

    @property
    def compared(self) -> list[ScorePair]:
        """The headline metrics of the record's dataset in each of its directions."""
        pairs = []
        for direction, metric in product(DIRECTIONS, self.record.dataset.card["headline"]):
            old, new = (score_of(held, direction, metric) for held in (self.record, self.again))
            if old is not None:
                pairs.append(ScorePair(direction, metric, old.value, new.value if new else None))
        return pairs

    @property
    def points(self) -> float:
        """The largest distance of all, in percentage points."""
        return max((line.points for line in self.compared), default=float("inf"))

    @property
    def same_scores(self) -> bool:
        """Every score of every metric is the same number, intervals included."""
        return self.again.scores == self.record.scores

    def differs(self) -> list[str]:
        """What was not the same around the two runs: processor and versions, one line each."""
        lines = []
        for what in ("hardware", "versions"):
            old, new = getattr(self.record, what), getattr(self.again, what)
            lines += [
                f"{key}: {old.get(key, 'not there')} in the record, {new.get(key, 'not there')} now"
                for key in dict.fromkeys((*old, *new))
                if old.get(key) != new.get(key)
            ]
        return lines


def remake_record(
    record: Record,
    *,
    source: Path | None = None,
    out: Path | None = None,
    quiet: bool = False,
    say: Callable[[str], None] = print,
) -> Outcome:
    """Run the commands of ``record`` one after the other, each in a process of its own.

    The run goes to ``out`` (default: below ``runs/again``); one that is there goes on, or is
    compared as it is where it has ended. ``say`` tells that, and the commands. A record without
    commands, a missing ``source``, a command that fails and a cache of other contents are each a
    UserError.
    """
    steps = record_steps(record, source=str(source or "DIR"), out=None if out is None else str(out))
    train, evaluate = steps[1], steps[-1]
    folder = Path(train[train.index("--out") + 1])
    if source is None and not record.dataset.synthetic:
        raise UserError(
            f"{record.dataset.title} is built from images that are not here",
            where="--source",
            fix=f"name their folder; they come from: {record.dataset.card['where']}",
        )
    if (folder / "run.json").exists():
        say(f"{folder} is there: it goes on, or is compared as it is where it has ended")
        train.append("--resume")
    target = folder / "record.json"
    evaluate += ["--out", str(target)]
    for command in steps:
        say(shlex.join(command))
        _run(command, quiet)
    again = read_record(target)
    if again.dataset.cache_digest != record.dataset.cache_digest:
        raise UserError(
            f"the cache holds other images ({again.dataset.cache_digest[:12]}…) than that of the "
            f"record ({record.dataset.cache_digest[:12]}…)",
            where=record.dataset.name,
            fix="build it from the same source with --force, or set CRBENCH_CACHES to a new folder",
        )
    return Outcome(record, again, target)


def _run(command: Sequence[str], quiet: bool) -> None:
    """A command of ours, its output to stderr: stdout is for the result."""
    code = subprocess.run(
        own_process("crbench", *command[1:], *(["--quiet"] if quiet else [])),
        stdout=subprocess.DEVNULL if quiet else sys.stderr,
        check=False,
    ).returncode
    if code == 130:
        raise KeyboardInterrupt
    if code:
        raise UserError(
            f"this command ended with exit code {code}",
            where=shlex.join(command),
            fix="its own message stands above; give this command again when that is mended",
        )
