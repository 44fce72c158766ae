"""A run's folder: what lies in it, and the statement (run.json) of what was asked for.

::

    run.json                  cards, cache, seed, settings: written first, completed at the end
    metrics.jsonl             one line an epoch
    checkpoint.pt             full training state, to go on after an interruption
    checkpoint-<step>.pt      older ones, with --keep-last
    weights.safetensors       what embeds
    weights-best.safetensors  those of the best epoch on the validation split, with --keep-best
    embeddings.h5             every view of both modalities; -on-<dataset> of another set
    index/                    the vectors that `crbench search` looks through, one file a view
    record.json               the scores
"""

from __future__ import annotations

import difflib
import itertools
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field

from crbench.cards import DatasetCard, MethodCard, Strict, parse
from crbench.errors import UserError, unknown
from crbench.files import read_json, read_jsonl, sha256_file, write_json
from crbench.words import MODALITIES

WEIGHTS = ("last", "best")


class Options(Strict):
    """What is looked at and kept while a run trains; none of it changes the weights.

    ``eval_every`` epochs the validation split is scored (0: never), ``keep_last`` checkpoints are
    kept, and the weights of the epoch with the highest ``keep_best`` (a metric, mean over the
    directions). ``track`` names trackers beside ``metrics.jsonl``.
    """

    eval_every: int = Field(default=0, ge=0)
    keep_last: int = Field(default=1, ge=1)
    keep_best: str | None = None
    stop_on_collapse: bool = False
    track: list[str] = Field(default_factory=list)


class RunInfo(Strict):
    """What a run is: enough to repeat it, and to refuse going on with something else."""

    format: int = 1
    method: dict[str, Any]
    dataset: dict[str, Any]
    cache: str
    cache_digest: str
    seed: int
    device: str
    threads: int
    precision: str
    ranks: int = 1
    n_train: int
    command: str
    created: str
    statistics: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    hardware: dict[str, str | int] = Field(default_factory=dict)
    finished: bool = False
    seconds: float = 0.0
    steps: int = 0
    epochs_done: int = 0
    final_terms: dict[str, float] = Field(default_factory=dict)
    gradient_shares: dict[str, dict[str, float]] = Field(default_factory=dict)
    memory: dict[str, float] = Field(default_factory=dict)
    options: Options = Options()
    best: dict[str, Any] = Field(default_factory=dict)  # metric, value, epoch, step
    digests: dict[str, str] = Field(default_factory=dict)  # SHA-256 of last and best weights

    @cached_property
    def method_card(self) -> MethodCard:
        """The resolved method card."""
        return parse(MethodCard, self.method, where="run.json: method")

    @property
    def bands(self) -> dict[str, list[str]]:
        """The bands that the model sees, by modality."""
        return {m: self.dataset_card.modality(m).used for m in MODALITIES}

    @cached_property
    def dataset_card(self) -> DatasetCard:
        """The dataset card of the cache that was trained on."""
        return parse(DatasetCard, self.dataset, where="run.json: dataset")


class _Place:
    """A file of a run's folder; ``{}`` in its name says which weights it is made from, ``{on}``
    which other set than the run's own."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, run: RunFolder, owner: type[RunFolder]) -> Path:
        which = "" if run.which == "last" else f"-{run.which}"
        return run.path / self.name.format(which, on=f"-on-{run.on}" if run.on else "")


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run; reading checks that it is one. ``which`` weights are meant: last or best;
    ``on``: another dataset than its own, that is embedded and scored."""

    path: Path
    which: str = "last"
    on: str = ""

    info_path = _Place("run.json")
    metrics = _Place("metrics.jsonl")
    checkpoint = _Place("checkpoint.pt")
    weights = _Place("weights{}.safetensors")
    embeddings = _Place("embeddings{}{on}.h5")
    index = _Place("index{}{on}")
    record = _Place("record{on}.json")

    def digests(self) -> dict[str, str]:
        """SHA-256 of the weights that are there, by ``"last"`` and ``"best"``."""
        files = {which: RunFolder(self.path, which).weights for which in WEIGHTS}
        return {which: sha256_file(path) for which, path in files.items() if path.is_file()}

    def exists(self) -> bool:
        """Whether a run was started here."""
        return self.info_path.is_file()

    def read(self) -> RunInfo:
        """The run's statement; a folder that is no run is a UserError."""
        if not self.path.is_dir():
            near = nearby(self.path)
            fix = f"runs near it: {', '.join(near)}" if near else "check the path"
            raise UserError("no such run folder", where=self.path, fix=fix)
        if not self.exists():
            raise UserError(
                "this folder is not a run: it has no run.json",
                where=self.path,
                fix="name a folder that `crbench train` wrote, e.g. runs/<dataset>/<method>/seed0",
            )
        return parse(RunInfo, read_json(self.info_path), where=str(self.info_path))

    def finished(self) -> RunInfo:
        """As ``read``, but a run whose training has not ended is a UserError."""
        info = self.read()
        if self.which not in WEIGHTS:
            raise unknown("weights", self.which, WEIGHTS, where="--weights")
        if not info.finished:
            done = len(read_jsonl(self.metrics)) if self.metrics.is_file() else 0
            raise UserError(
                f"this run has not finished training ({done} epochs done)",
                where=self.path,
                fix="go on with `crbench train ... --resume`",
            )
        if not self.weights.is_file():
            what, fix = f"{self.weights.name} is missing", "train the run again"
            if self.which == "best":
                what = "this run kept no best weights"
                fix = "train with --eval-every N --keep-best METRIC, or take --weights last"
            raise UserError(what, where=self.path, fix=fix)
        return info

    def write(self, info: RunInfo) -> None:
        """Write the statement atomically."""
        write_json(self.info_path, info.model_dump(mode="json"))


def default_run(dataset: str, method: str, scale: str, seed: int) -> Path:
    """``runs/<dataset>/<method>[@scale]/seed<seed>``: where a run goes unless told otherwise."""
    suffix = "" if scale == "paper" else f"@{scale}"
    return Path("runs") / dataset / f"{method}{suffix}" / f"seed{seed}"


def differing(before: Any, after: Any, name: str = "") -> list[str]:
    """The keys in which two nested tables differ, each as ``train.epochs: 60, not 4``."""
    if not isinstance(before, dict) or not isinstance(after, dict):
        return [] if before == after else [f"{name}: {before}, not {after}"]
    lines = []
    for key in dict.fromkeys([*before, *after]):
        inner = f"{name}.{key}" if name else key
        lines += differing(before.get(key), after.get(key), inner)
    return lines


def nearby(path: Path, most: int = 5) -> list[str]:
    """Runs whose paths are spelt most like ``path``: under ``runs`` and where ``path`` leads to."""
    above = next((parent for parent in path.parents if parent.is_dir()), Path("."))
    folders = {Path("runs"), above} - {Path("."), Path("/"), Path.home()}
    runs: set[str] = set()
    for folder in folders:
        for depth in range(1, 5):  # <dataset>/<method>/seed<n> at the usual place, not a whole disk
            matches = folder.glob("/".join(["*"] * depth) + "/run.json")
            runs |= {str(match.parent) for match in itertools.islice(matches, 1000)}
    wanted = str(path)
    return difflib.get_close_matches(wanted, sorted(runs), n=most, cutoff=0.6)
