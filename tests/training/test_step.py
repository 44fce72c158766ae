"""The step: ranks and parts give the gradients of one process, and nothing waits for a device."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from crbench.cards import MethodCard, load_method
from crbench.errors import UserError
from crbench.models.base import Method, Step
from crbench.models.hashing import normal
from crbench.models.registry import build_method
from crbench.run.devices import Ranks
from crbench.training.step import Stepper, batch_size, blocks

Once = Callable[[str, Callable[[Path], object]], Path]
BANDS = {"a": 2, "b": 3}
PAIRS = 8
STEP = Step(index=3, epoch=1, total=100, seed=7)
SMALL = ["model.image_size=16", "model.width=16", "model.depth=2", "train.clip=1e9"]
CASES = {
    "cr-jepa": ("cr-jepa", []),
    "cr-jepa, live targets, paired heads": (
        "cr-jepa",
        [
            "loss.targets=live",
            "loss.sig_pair=0.1",
            "loss.same=1.0",
            'model.retrieval_heads=["cross", "uni", "same"]',
        ],
    ),
    # a stem, the trunk's other half and the heads have no gradient: DDP must not wait for them
    "cr-jepa, one route": (
        "cr-jepa",
        [f"loss.{key}=0" for key in ("cross", "uni", "sig", "routes.bb", "routes.ab", "routes.ba")],
    ),
    "cr-jepa, two parts": ("cr-jepa", ["train.accumulate=2"]),
    "cr-jepa, checkpointing": ("cr-jepa", ["train.checkpointing=true"]),
    "x-jepa": ("x-jepa", ["loss.hinge=1.0", "model.masks.min_context=2", "model.patch_size=4"]),
    "rejepa": ("rejepa", ["loss.hinge=1.0", "model.masks.min_context=2"]),
}


def make(name: str, *more: str) -> tuple[MethodCard, Method]:
    """A case's card and its model in float64, the same in every process."""
    method, overrides = CASES[name]
    card = load_method(method, scale="tiny", overrides=[*SMALL, *overrides, *more])
    torch.manual_seed(0)
    return card, build_method(card, BANDS).double()


def batch_of(rows: list[int]) -> dict[str, torch.Tensor]:
    """Pairs 0 to 7 of a fixed batch, at ``rows``."""
    side = 16
    images = {m: normal(i, PAIRS, BANDS[m], side, side).double() for i, m in enumerate("ab")}
    whole = {**images, "keys": torch.arange(PAIRS) + 100}
    return {key: value[rows] for key, value in whole.items()}


def gradients(name: str, rows: list[int], ranks: Ranks | None = None) -> dict[str, torch.Tensor]:
    """Gradients after one step, and the terms; parameters without a gradient are left out."""
    card, model = make(name)
    take, batch = Stepper(model, card.train, "fp32", 10, ranks), batch_of(rows)
    shares = {f"share {key}": value for key, value in take.shares(batch, STEP).items()}
    terms = take(batch, STEP) | {key: torch.tensor(value) for key, value in shares.items()}
    found = {key: p.grad.clone() for key, p in model.named_parameters() if p.grad is not None}
    return found | {f"term {key}": value.double() for key, value in terms.items()}


WORKER = """
import sys, torch
sys.path.insert(0, sys.argv[1])
from test_step import CASES, gradients
from crbench.run.devices import joined
torch.set_num_threads(1)
with joined() as ranks:
    mine = list(range(8))[ranks.rank * 4 : ranks.rank * 4 + 4]
    found = {name: gradients(name, mine, ranks) for name in CASES}
    torch.save(found, f"{sys.argv[2]}/rank{ranks.rank}.pt")
"""


def start(folder: Path, rank: int, port: int) -> subprocess.Popen[str]:
    place = {"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank)}
    place |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    code = [sys.executable, "-c", WORKER, str(Path(__file__).parent), str(folder)]
    return subprocess.Popen(code, env=os.environ | place, stderr=subprocess.PIPE, text=True)


def train_two_ranks(folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    members = [start(folder, rank, port) for rank in (0, 1)]
    for member in members:
        _, error = member.communicate(timeout=280)
        assert member.returncode == 0, error


@pytest.fixture(scope="module")
def two_ranks(once: Once) -> list[dict[str, dict]]:
    """What each of two ranks (gloo) computes, having half of the batch each."""
    folder = once("two-ranks", train_two_ranks)
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("name", CASES)
def test_two_ranks_have_the_gradients_of_one_process(
    two_ranks: list[dict[str, dict]], name: str
) -> None:
    # of two parts a rank's first goes with the other rank's first
    rows = [0, 1, 4, 5, 2, 3, 6, 7] if "parts" in name else list(range(PAIRS))
    alone = gradients(name, rows)
    largest = max(float(g.abs().max()) for key, g in alone.items() if not key.startswith("term"))
    assert largest > 0
    for found in (part[name] for part in two_ranks):
        assert found.keys() == alone.keys()
        for key, value in alone.items():
            if key.startswith("term"):  # logged in float32
                torch.testing.assert_close(found[key], value, rtol=1e-5, atol=1e-7)
            else:
                assert float((found[key] - value).abs().max()) <= 1e-6 * largest, key


def test_half_the_batch_has_other_gradients(two_ranks: list[dict[str, dict]]) -> None:
    """So that the comparison above can fail: a rank's own gradients are not those of all."""
    half, whole = gradients("cr-jepa", [0, 1, 2, 3]), gradients("cr-jepa", list(range(PAIRS)))
    key = "heads.cross.0.weight"
    assert float((half[key] - whole[key]).abs().max()) > 1e-2 * float(whole[key].abs().max())


@pytest.mark.parametrize("name", ["cr-jepa", "x-jepa", "rejepa"])
def test_checkpointing_changes_no_gradient(name: str) -> None:
    card, model = make(name, "train.checkpointing=true")
    Stepper(model, card.train, "fp32", 10)(batch_of(list(range(PAIRS))), STEP)
    plain = gradients(name, list(range(PAIRS)))
    assert len(blocks(model)) > 2
    for key, parameter in model.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, plain[key], rtol=1e-9, atol=1e-12)


def test_parts_are_batches_of_their_own() -> None:
    """Two parts: the mean of the gradients of two batches of half the size."""
    whole = gradients("cr-jepa, two parts", list(range(PAIRS)))
    halves = [gradients("cr-jepa", list(range(PAIRS))[s]) for s in (slice(4), slice(4, 8))]
    for key in halves[0]:
        if key != "term grad_norm" and "share" not in key:  # those are of the first part
            mean = (halves[0][key] + halves[1][key]) / 2
            torch.testing.assert_close(whole[key], mean, rtol=1e-5, atol=1e-9)


class Reads(TorchDispatchMode):
    """Counts values that the host reads from a tensor: on a GPU each waits for the device."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default):
            self.count += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["cr-jepa", "x-jepa", "rejepa"])
def test_no_value_is_read_in_a_step(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    card, model = make(name, 'train.augment="dihedral"')
    take = Stepper(model, card.train, "fp32", 10)
    # AdamW reads its step count where that lies on the host, as it does on CPUs and never on GPUs
    monkeypatch.setattr(take.optimizer, "step", lambda: None)
    batch = batch_of(list(range(PAIRS)))
    with Reads() as reads:
        terms = take(batch, STEP)
    assert reads.count == 0
    with Reads() as reads:
        float(terms["loss"])
    assert reads.count == 1  # the count does see one


@pytest.mark.parametrize(
    ("batch", "pairs", "ranks", "parts", "expected"),
    [(512, 11898, 8, 1, 512), (512, 96, 1, 1, 96), (512, 97, 2, 2, 96), (6, 100, 3, 1, 6)],
)
def test_batch_sizes(batch: int, pairs: int, ranks: int, parts: int, expected: int) -> None:
    settings = [f"train.batch_size={batch}", f"train.accumulate={parts}"]
    card = load_method("cr-jepa", overrides=settings).train
    assert batch_size(card, pairs, Ranks(0, ranks)) == expected


@pytest.mark.parametrize(("batch", "pairs", "ranks"), [(512, 9999, 3), (4, 9999, 4), (512, 3, 2)])
def test_a_batch_that_cannot_be_shared_is_refused(batch: int, pairs: int, ranks: int) -> None:
    card = load_method("cr-jepa", overrides=[f"train.batch_size={batch}"]).train
    with pytest.raises(UserError, match="does not divide"):
        batch_size(card, pairs, Ranks(0, ranks))


def test_a_compiler_that_fails_is_said_and_done_without(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(function: object) -> object:
        raise RuntimeError("no C++ compiler found\nin a long traceback")

    card, model = make("cr-jepa", "train.compile=true")
    with monkeypatch.context() as patch:
        patch.setattr(torch, "compile", broken)
        take = Stepper(model, card.train, "fp32", 10)
    assert not take.compiled
    assert "going on without it: no C++ compiler found" in capsys.readouterr().err
    assert torch.isfinite(take(batch_of(list(range(PAIRS))), STEP)["loss"])


def test_new_keys_leave_the_digest_of_a_committed_record() -> None:
    root = Path(__file__).resolve().parents[2]
    records = sorted((root / "results" / "records").rglob("*.json"))
    seen = 0
    for path in records:
        entry = json.loads(path.read_text())["method"]
        if entry["card"]["train"].keys() & {"accumulate", "checkpointing", "compile"}:
            continue
        card = MethodCard.model_validate(entry["card"])
        assert card.to_dict() == entry["card"]
        assert card.digest == entry["digest"]
        seen += 1
    assert seen


def test_new_keys_count_where_they_are_set() -> None:
    plain = load_method("cr-jepa", scale="tiny")
    for setting in ("accumulate=2", "checkpointing=true", "compile=true"):
        other = load_method("cr-jepa", scale="tiny", overrides=[f"train.{setting}"])
        assert other.digest != plain.digest
        assert "train" in other.to_dict() and setting.split("=")[0] in other.to_dict()["train"]
