"""What is asked of a training, and the statement that a run begins with or goes on by."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from crbench import machine
from crbench.cards import MethodCard, load_method
from crbench.data.cache.reading import Cache
from crbench.errors import UserError
from crbench.run.devices import Ranks, device_name
from crbench.run.folder import Options, RunFolder, RunInfo, default_run, differing
from crbench.run.opened import statistics

# a run goes on only with these as they were
_SETTLED = (
    "method", "cache_digest", "bands", "statistics", "seed", "precision", "threads", "device",
    "ranks",
)  # fmt: skip


@dataclass(frozen=True)
class TrainSettings:
    """A training as a user asks for it.

    ``method`` and ``dataset`` are card names or paths, ``scale`` an overlay of the method card,
    ``overrides`` ``key=value`` of it and ``epochs`` another number of them. A run that exists (at
    ``out``, else at its usual place) is never overwritten: ``resume`` goes on with it. ``bands``
    (``"a=VH,VV"``) choose and order what the model sees. ``loading`` (auto, memory, stream) says
    where the pixels live and ``options`` what is scored, kept and tracked on the way: neither
    changes a bit of the weights. Numbers out of range are a UserError.
    """

    method: str
    dataset: str
    scale: str | None = None
    overrides: Sequence[str] = ()
    epochs: int | None = None
    seed: int = 0
    device: str = "auto"
    out: str | Path | None = None
    cache: str | Path | None = None
    resume: bool = False
    quiet: bool = False
    threads: int | None = None
    bands: Sequence[str] = ()
    loading: str = "auto"
    options: Options = field(default_factory=Options)

    def __post_init__(self) -> None:
        for name, least in (("epochs", 0), ("seed", 0), ("threads", 1)):
            value = getattr(self, name)
            if value is not None and not least <= value < 2**63:
                raise UserError(f"{name} must be {least} or more, not {value}", where=f"--{name}")

    def card(self) -> MethodCard:
        """The method card with every choice resolved."""
        card = load_method(self.method, scale=self.scale, overrides=self.overrides)
        if self.epochs is None:
            return card
        train = card.train.model_copy(update={"epochs": self.epochs})
        return card.model_copy(update={"train": train})

    def folder(self, card: MethodCard, data: Cache) -> RunFolder:
        """Where the run goes."""
        usual = default_run(data.card.name, card.name, card.scale, self.seed)
        return RunFolder(Path(self.out) if self.out else usual)


def statement(
    settings: TrainSettings,
    card: MethodCard,
    data: Cache,
    device: torch.device,
    precision: str,
    ranks: Ranks,
) -> RunInfo:
    """What run.json says of a training that is about to begin."""
    return RunInfo(
        method=card.to_dict(),
        dataset=data.card.to_dict(),
        cache=str(data.path),
        cache_digest=data.digest,
        seed=settings.seed,
        device=device_name(device),
        threads=torch.get_num_threads(),
        precision=precision,
        ranks=ranks.size,
        n_train=len(data.rows(data.card.train_splits)),
        statistics=statistics(data),
        versions=machine.versions(),
        hardware=machine.hardware(),
        command=machine.command(),
        created=machine.now_utc(),
        options=settings.options,
    )


def begin(run: RunFolder, info: RunInfo, *, resume: bool, quiet: bool) -> RunInfo:
    """Write the statement of a new run, or check that an old one is the same run."""
    if not run.exists():
        if resume and not quiet:
            print(f"nothing to go on with at {run.path}: starting anew", file=sys.stderr)
        if run.path.exists() and (not run.path.is_dir() or any(run.path.iterdir())):
            raise UserError(
                "the output folder is not empty and is not a run",
                where=run.path,
                fix="choose another --out",
            )
        run.write(info)
        return info
    before = run.read()
    if not resume:
        raise UserError(
            "a run exists here" + (" and has finished" if before.finished else ""),
            where=run.path,
            fix="go on with --resume, or choose another --out or --seed",
        )
    for key in _SETTLED:
        was, now = getattr(before, key), getattr(info, key)
        if was != now:
            lines = differing(was, now)[:3] if key == "method" else [f"{was}, not {now}"]
            detail = "" if key == "statistics" else f" ({'; '.join(lines)})"
            raise UserError(
                f"cannot go on: the run was started with another {key.replace('_', ' ')}{detail}",
                where=run.path,
                fix="use the settings of its run.json, or choose another --out",
            )
    return before if before.finished else before.model_copy(update={"options": info.options})
