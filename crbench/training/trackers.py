"""Trackers beside ``metrics.jsonl``: thin adapters that never stop a run.

Each gets one call an epoch with the epoch's line as flat names, e.g. ``train/loss`` and
``val/map/mean``. Their packages are in the extra ``[track]`` and imported when asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from crbench.files import sha256_json
from crbench.run.folder import RunFolder, RunInfo, default_run


class Tracker(NamedTuple):
    """What an adapter offers; anything that they raise ends it and not the run.

    ``log`` takes the values of an epoch by name, and its number; ``close`` writes what is left.
    """

    log: Callable[[dict[str, float], int], object]
    close: Callable[[], object]


def _tensorboard(run: RunFolder, info: RunInfo, epochs_done: int) -> Tracker:
    """Event files in ``tensorboard/`` of the run's folder."""
    from torch.utils.tensorboard import SummaryWriter

    writer: Any = SummaryWriter(str(run.path / "tensorboard"), purge_step=epochs_done + 1)

    def log(values: dict[str, float], epoch: int) -> None:
        for name, value in values.items():
            writer.add_scalar(name, value, epoch)
        writer.flush()

    return Tracker(log, writer.close)


def _wandb(run: RunFolder, info: RunInfo, epochs_done: int) -> Tracker:
    """Weights & Biases, as its own settings (``WANDB_MODE``, ``wandb login``) say."""
    import wandb

    same = sha256_json([info.created, info.method, info.seed])[:16]  # one run when gone on with
    return _service(wandb, info, id=same, dir=str(run.path))


def _trackio(run: RunFolder, info: RunInfo, epochs_done: int) -> Tracker:
    """trackio, which keeps its tables on this machine (``TRACKIO_DIR``)."""
    import trackio

    return _service(trackio, info)


def _service(module: Any, info: RunInfo, **options: Any) -> Tracker:
    """Weights & Biases, and trackio, which has its interface: ``init``, ``log``, ``finish``."""
    config = {"method": info.method, "dataset": info.dataset["name"], "seed": info.seed}
    card = info.method_card  # a run is called as its usual folder, e.g. ben-14k/cr-jepa/seed0
    usual = default_run(config["dataset"], card.name, card.scale, info.seed)
    name = usual.relative_to("runs").as_posix()
    module.init(project="crbench", name=name, config=config, resume="allow", **options)
    return Tracker(lambda values, epoch: module.log(values, step=epoch), module.finish)


ADAPTERS = {"tensorboard": _tensorboard, "wandb": _wandb, "trackio": _trackio}
_BROKEN = (Exception, SystemExit)  # some libraries end the process where they cannot log in


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

    def _each(self, do: Callable[[Tracker], object]) -> None:
        for name, tracker in list(self.live.items()):
            try:
                do(tracker)
            except _BROKEN as error:
                del self.live[name]
                self._warn(name, error)

    def _warn(self, name: str, error: BaseException) -> None:
        hint = " (pip install 'crbench[track]')" if isinstance(error, ImportError) else ""
        first = str(error).partition("\n")[0][:200]
        self.say(
            f"tracker {name} failed and is left out: {type(error).__name__}: {first}{hint}; "
            "training goes on, and metrics.jsonl has every epoch"
        )
