"""Trackers beside ``metrics.jsonl``: thin adapters that never stop a run.

Each gets one call an epoch with the epoch's line as flat names, e.g. ``train/loss`` and
``val/map/mean``. Their packages are in the extra ``[track]`` and imported when asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from crbench.errors import unknown
from crbench.files import sha256_json
from crbench.run.folder import RunFolder, RunInfo


class Tracker(Protocol):
    """What an adapter offers; anything it raises ends it and not the run."""

    def log(self, values: Mapping[str, float], epoch: int) -> None:
        """Take the values of an epoch."""

    def close(self) -> None:
        """Write what is left."""


class TensorBoard:
    """Event files in ``tensorboard/`` of the run's folder."""

    def __init__(self, run: RunFolder, info: RunInfo, epochs_done: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer: Any = SummaryWriter(str(run.path / "tensorboard"), purge_step=epochs_done + 1)

    def log(self, values: Mapping[str, float], epoch: int) -> None:
        for name, value in values.items():
            self.writer.add_scalar(name, value, epoch)
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


class _Service:
    """Weights & Biases, and trackio, which has its interface: ``init``, ``log``, ``finish``."""

    def __init__(self, module: Any, info: RunInfo, **options: Any) -> None:
        self.module = module
        config = {"method": info.method, "dataset": info.dataset["name"], "seed": info.seed}
        module.init(project="crbench", name=name_of(info), config=config, resume="allow", **options)

    def log(self, values: Mapping[str, float], epoch: int) -> None:
        self.module.log(dict(values), step=epoch)

    def close(self) -> None:
        self.module.finish()


class WandB(_Service):
    """Weights & Biases, as its own settings (``WANDB_MODE``, ``wandb login``) say."""

    def __init__(self, run: RunFolder, info: RunInfo, epochs_done: int) -> None:
        import wandb

        same = sha256_json([info.created, info.method, info.seed])[:16]  # one run when gone on with
        super().__init__(wandb, info, id=same, dir=str(run.path))


class Trackio(_Service):
    """trackio, which keeps its tables on this machine (``TRACKIO_DIR``)."""

    def __init__(self, run: RunFolder, info: RunInfo, epochs_done: int) -> None:
        import trackio

        super().__init__(trackio, info)


ADAPTERS: dict[str, Callable[[RunFolder, RunInfo, int], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": WandB,
    "trackio": Trackio,
}
_BROKEN = (Exception, SystemExit)  # some libraries end the process where they cannot log in


def check_trackers(names: Iterable[str]) -> None:
    """Refuse a name that no adapter has."""
    for name in names:
        if name not in ADAPTERS:
            raise unknown("tracker", name, ADAPTERS, where="--track")


def name_of(info: RunInfo) -> str:
    """What trackers call a run, e.g. ``ben-14k/cr-jepa/seed0``."""
    card = info.method_card
    scale = "" if card.scale == "paper" else f"@{card.scale}"
    return f"{info.dataset['name']}/{card.name}{scale}/seed{info.seed}"


def flat(line: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of an epoch's line by name: ``train/…``, and ``val/<metric>/<direction>``."""
    values = {f"train/{name}": float(v) for name, v in line.items() if isinstance(v, int | float)}
    for metric, by_direction in line.get("val", {}).get("scores", {}).items():
        values |= {f"val/{metric}/{d}": v for d, v in by_direction.items() if v is not None}
    for modality, values_of in line.get("val", {}).get("health", {}).items():
        values |= {f"health/{modality}/{name}": value for name, value in values_of.items()}
    return values


class Trackers:
    """Several trackers; one that raises is named once and left out from then on."""

    def __init__(
        self, names: Iterable[str], run: RunFolder, info: RunInfo, say: Callable[[str], None]
    ) -> None:
        self.names, self.run, self.info, self.say = tuple(dict.fromkeys(names)), run, info, say
        self.live: dict[str, Tracker] = {}

    def start(self, epochs_done: int) -> None:
        """Begin, or go on after ``epochs_done`` epochs."""
        for name in self.names:
            try:
                self.live[name] = ADAPTERS[name](self.run, self.info, epochs_done)
            except _BROKEN as error:
                self._warn(name, error)

    def log(self, line: Mapping[str, Any]) -> None:
        """Hand on the line of an epoch."""
        self._each(lambda tracker: tracker.log(flat(line), int(line["epoch"])))

    def close(self) -> None:
        """End them all."""
        self._each(lambda tracker: tracker.close())

    def _each(self, do: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self.live.items()):
            try:
                do(tracker)
            except _BROKEN as error:
                del self.live[name]
                self._warn(name, error)

    def _warn(self, name: str, error: BaseException) -> None:
        missing = isinstance(error, ImportError)
        hint = " (pip install 'crbench[track]')" if missing else ""
        first = str(error).splitlines()[0][:200] if str(error) else ""
        self.say(
            f"tracker {name} failed and is left out: {type(error).__name__}: {first}{hint}; "
            "training goes on, and metrics.jsonl has every epoch"
        )
