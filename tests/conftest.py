"""Fixtures that several stages share: a small twin, a trained run, records, a browser, imagery."""

import importlib.util
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from filelock import FileLock

import crbench  # noqa: F401  (first of all: it sets how OpenMP threads wait)
from crbench.cards import load_dataset, load_method
from crbench.records import Record

WORKER = os.environ.get("PYTEST_XDIST_WORKER")
if WORKER:  # side by side with other workers: one thread each, set before NumPy and torch load
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(variable, "1")

DIRECTIONS = ("aa", "bb", "ab", "ba")

ROOT = Path(__file__).resolve().parents[1]

Once = Callable[[str, Callable[[Path], object]], Path]


def required(what: str) -> bool:
    """Whether ``CRBENCH_REQUIRE_<what>`` says that tests which need it must run, not skip."""
    return os.environ.get(f"CRBENCH_REQUIRE_{what}", "").lower() not in ("", "0", "no", "false")


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory) -> Once:
    """``once(name, make)``: the folder that ``make(folder)`` filled, by one worker for all of them.

    What it holds is read by tests that run at the same time, so it must not be written to.
    """
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if WORKER else base) / "shared"
    shared.mkdir(exist_ok=True)

    def folder(name: str, make: Callable[[Path], object]) -> Path:
        path, done = shared / name, shared / f"{name}.done"
        with FileLock(shared / f"{name}.lock"):
            if not done.exists():
                shutil.rmtree(path, ignore_errors=True)
                path.mkdir()
                make(path)
                done.touch()
        return path

    return folder


@pytest.fixture(scope="session")
def twin_cache(once: Once) -> Path:
    """A real cache of the BEN-14K twin with 96 + 24 + 40 pairs."""
    from crbench.data.cache.build import build_cache

    sizes = {"train": 96, "val": 24, "test": 40}
    card = load_dataset(
        "ben-14k-twin", overrides=[f"source.splits.{name}={size}" for name, size in sizes.items()]
    )
    file = "ben-14k-twin.h5"
    return once("caches", lambda folder: build_cache(card, folder / file, quiet=True)) / file


def short_training(cache: Path, out: Path, seed: int) -> None:
    """CR-JEPA at ``tiny``, two epochs on the small twin."""
    from crbench import train

    settings: dict[str, Any] = {"scale": "tiny", "epochs": 2, "cache": cache, "seed": seed}
    train("cr-jepa", "ben-14k-twin", **settings, out=out, quiet=True)


@pytest.fixture(scope="session")
def trained_run(twin_cache: Path, once: Once, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CR-JEPA at ``tiny``, two epochs on the small twin; a copy for each worker to write in."""
    made = once("trained", lambda folder: short_training(twin_cache, folder / "cr-jepa", 0))
    copy = tmp_path_factory.mktemp("runs") / "cr-jepa"
    return Path(shutil.copytree(made / "cr-jepa", copy))


@pytest.fixture(scope="session")
def other_seed(twin_cache: Path, once: Once) -> Path:
    """The run as ``trained_run``, of seed 1; nothing writes in it."""
    made = once("other-seed", lambda folder: short_training(twin_cache, folder / "cr-jepa", 1))
    return made / "cr-jepa"


@pytest.fixture
def plant_search(twin_cache: Path) -> Callable[[], Any]:
    """``plant_search()``: the test pairs of the small twin as an archive, of vectors (8,) that a
    fixed seed draws, in all directions; no run lies behind it, and no record."""
    import numpy as np

    from crbench.archive.queries import Queries
    from crbench.archive.search import Search
    from crbench.data.cache.reading import open_cache
    from crbench.scoring.search import Gallery

    def plant() -> Search:
        cache = open_cache(twin_cache)
        card = load_method("cr-jepa", scale="tiny")
        info = SimpleNamespace(method_card=card, dataset_card=cache.card, seed=0)
        queries = Queries(SimpleNamespace(cache=cache, info=info))  # type: ignore[arg-type]
        protocol = cache.card.protocols["leave-one-out"]
        serves = {d: (f"{d[0]}/v", f"{d[1]}/v") for d in DIRECTIONS}
        ids = cache.ids[cache.rows(protocol.gallery)]
        drawn = np.random.default_rng(0).uniform(0.5, 1, (2, len(ids), 8)).astype(np.float32)
        galleries = {f"{m}/v": Gallery(ids, drawn["ab".index(m)]) for m in "ab"}
        return Search(queries, protocol, "leave-one-out", serves, _galleries=galleries)

    return plant


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """A headless browser that is installed already, or a skip that says what is missing."""
    path = ROOT / "scripts" / "make_screenshots.py"
    spec = importlib.util.spec_from_file_location("make_screenshots", path)
    assert spec is not None and spec.loader is not None
    shots = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(shots)
    if shots.programs() is None:
        message = "no browser: chromium and chromium-driver are not installed"
        if required("BROWSER"):
            pytest.fail(message)
        pytest.skip(message)
    browser = shots.open_browser()
    yield browser
    browser.quit()


@pytest.fixture(scope="session")
def real_data() -> Callable[[str], Path]:
    """``real_data(name)``: a folder of the real imagery, or a skip that says what is missing."""

    def find(name: str) -> Path:
        base = os.environ.get("CRBENCH_REAL_DATA") or str(ROOT.parent / "shared" / "data")
        folder = Path(base) / name
        if not folder.is_dir():
            message = f"real imagery '{name}' is not at $CRBENCH_REAL_DATA or ../shared/data"
            if required("REAL_DATA"):
                pytest.fail(message)
            pytest.skip(message)
        return folder

    return find


@pytest.fixture
def make_record() -> Callable[..., Record]:
    """``make_record(method, value, seed=0, ...)``: one record whose headline is ``value``."""

    def make(
        method: str = "cr-jepa",
        value: float = 0.5,
        *,
        seed: int = 0,
        spread: float = 0.01,
        dataset: str = "ben-14k-twin",
        protocol: str = "leave-one-out",
        cache: str = "c" * 64,
        overrides: tuple[str, ...] = (),
        created: str = "2026-01-02T03:04:05Z",
        values: dict[str, float] | None = None,
        **changes: Any,
    ) -> Record:
        card = load_method(method, scale="tiny", overrides=overrides)
        data = load_dataset(dataset)
        chosen = data.protocols[protocol]
        scores = {
            d: {
                metric: {"value": v, "low": v - spread, "high": v + spread}
                for metric in (*data.headline, "pair_r@1")
            }
            for d, v in (dict.fromkeys(DIRECTIONS, value) | (values or {})).items()
        }
        done = changes.pop("epochs_done", card.train.epochs)
        fields: dict[str, Any] = {
            "run": f"{card.name}-tiny-seed{seed}",
            "created": created,
            "method": {
                "name": card.name, "title": card.title, "kind": card.kind, "paper": card.paper,
                "scale": card.scale, "digest": card.digest, "card": card.to_dict(),
            },
            "dataset": {
                "name": data.name, "title": data.title, "synthetic": data.synthetic,
                "note": data.note, "scale": data.scale, "card_digest": data.digest,
                "cache_digest": cache, "card": data.to_dict(), "sizes": {"train": 90, "test": 40},
            },
            "modalities": {
                m: {"name": data.modality(m).name, "bands": data.modality(m).bands} for m in "ab"
            },
            "protocol": {
                "name": protocol, "query": chosen.query, "gallery": chosen.gallery,
                "n_query": 40, "n_gallery": 41, "exclude_self": True,
                "similarity": "cosine, float32", "ties": "expected over random order",
            },
            "serves": {
                "aa": {"query": "uni", "gallery": "uni"}, "bb": {"query": "uni", "gallery": "uni"},
                "ab": {"query": "cross", "gallery": "cross"},
                "ba": {"query": "predicted", "gallery": "cross"},
            },
            "scores": scores,
            "chance": {d: dict.fromkeys(data.headline, 0.1) for d in DIRECTIONS},
            "per_class": {d: {} for d in DIRECTIONS},
            "counts": {d: {} for d in DIRECTIONS},
            "health": {"collapsed_reason": changes.pop("reason", None)},
            "collapsed": False,
            "training": {
                "seed": seed, "epochs": done, "epochs_planned": card.train.epochs, "steps": 5,
                "train_splits": data.train_splits, "n_train": 90, "seconds": 1.5,
                "checkpoint": "last", "device": "cpu", "threads": 1, "precision": "fp32",
                "params_trainable": 1_250_000, "params_total": 1_250_000,
                "params_inference": 600_000, "final_terms": {},
                "finished": done == card.train.epochs,
            },
            "digests": {}, "timings": {}, "versions": {}, "hardware": {}, "command": "crbench",
            "resamples": 1000,
        }  # fmt: skip
        return Record.model_validate(fields | changes)

    return make
