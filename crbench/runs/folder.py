"""A run's folder: what lies in it, and the statement (run.json) of what was asked for.

::

    run.json             cards, cache, seed, settings: written first, never changed but `finished`
    metrics.jsonl        one line an epoch
    checkpoint.pt        full training state, to go on after an interruption
    weights.safetensors  what embeds
    embeddings.h5        every view of both modalities
    record.json          the scores
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from crbench.cards import DatasetCard, MethodCard, Strict, parse
from crbench.errors import UserError
from crbench.files import read_json, read_jsonl, write_json


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
    memory: dict[str, float] = Field(default_factory=dict)

    @property
    def method_card(self) -> MethodCard:
        """The resolved method card."""
        return parse(MethodCard, self.method, where="run.json: method")

    @property
    def dataset_card(self) -> DatasetCard:
        """The dataset card of the cache that was trained on."""
        return parse(DatasetCard, self.dataset, where="run.json: dataset")


@dataclass(frozen=True)
class RunFolder:
    """Paths of a run; reading checks that it is one."""

    path: Path

    @property
    def info_path(self) -> Path:
        return self.path / "run.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def checkpoint(self) -> Path:
        return self.path / "checkpoint.pt"

    @property
    def weights(self) -> Path:
        return self.path / "weights.safetensors"

    @property
    def embeddings(self) -> Path:
        return self.path / "embeddings.h5"

    @property
    def record(self) -> Path:
        return self.path / "record.json"

    def exists(self) -> bool:
        """Whether a run was started here."""
        return self.info_path.is_file()

    def read(self) -> RunInfo:
        """The run's statement; a folder that is no run is a UserError."""
        if not self.path.is_dir():
            raise UserError("no such run folder", where=self.path, fix="check the path")
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
        if info.finished and not self.weights.is_file():
            raise UserError(
                "weights.safetensors is missing", where=self.path, fix="train the run again"
            )
        if not info.finished:
            done = len(read_jsonl(self.metrics)) if self.metrics.is_file() else 0
            raise UserError(
                f"this run has not finished training ({done} epochs done)",
                where=self.path,
                fix="go on with `crbench train ... --resume`",
            )
        return info

    def write(self, info: RunInfo) -> None:
        """Write the statement atomically."""
        write_json(self.info_path, info.model_dump(mode="json"))


def default_run(dataset: str, method: str, scale: str, seed: int) -> Path:
    """``runs/<dataset>/<method>[@scale]/seed<seed>``: where a run goes unless told otherwise."""
    suffix = "" if scale == "paper" else f"@{scale}"
    return Path("runs") / dataset / f"{method}{suffix}" / f"seed{seed}"
