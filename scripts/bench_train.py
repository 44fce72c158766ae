"""Time of a training step against what it needs, all variants taking turns in one run.

    python scripts/bench_train.py --json                  # the paper's size on a CPU, batch 16
    python scripts/bench_train.py --device cuda --json    # on a GPU: bf16, batch 512, 200 steps
    python scripts/bench_train.py --small                 # tiny scale in seconds, for a look

One row of the result per key, medians of --repeats:
  fraction_of_matmul   fewest FLOPs of a step ÷ its time, as a share of a large matrix product
  over_plain_step      step ÷ a plain eager step (four predictor calls, two trunk passes per
                       modality, AdamW as it is by default)
  loss_rel_diff        largest relative difference of the two losses from equal weights
  no_pred_over_full    step with loss.pred = 0 ÷ full step
  data_wait_fraction   time spent in the loader ÷ loader and step
  core                 the first two and the fourth by processor time (all threads), which other
                       work on the machine moves less than the clock; CPU only
On a GPU also pairs_per_s, memory_gib and epochs_400_min (BEN-14K, extrapolated).
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from crbench import machine
from crbench.cards import MethodCard, load_dataset, load_method
from crbench.data.cache.build import build_cache
from crbench.data.cache.reading import open_cache
from crbench.data.pairs import Pairs, epoch_batches
from crbench.models.base import Batch, Step
from crbench.models.cr_jepa import CRJEPA
from crbench.models.losses import cosine_distance, directions, infonce, sigreg
from crbench.models.masking import masked_count, random_split
from crbench.models.registry import build_method
from crbench.models.vit import gather
from crbench.run.devices import device_name, full_precision, precision_of
from crbench.training.step import Stepper
from crbench.words import MODALITIES

BANDS = {"a": 2, "b": 12}
BEN14K_TRAIN = 7_761  # pairs of an epoch of BEN-14K, for the extrapolation
TOTAL = 10_000  # steps of the run that the timed steps are part of: in its warm-up


def fewest_flops(card: MethodCard, bands: dict[str, int]) -> float:
    """FLOPs that a step on one pair cannot do without, 1 MAC = 2 FLOPs.

    Per token and block of width D: 24 D² in the linear layers of the trunk and 4 n D in attention
    over n tokens; a predictor block adds cross-attention, 4 D² per query (and 4 D² per context
    token, 4 V D per query). A backward pass costs twice the forward one; patch embeddings need no
    gradient of their input, detached targets none at all. Norms, activations, losses and the
    optimiser count nothing.
    """
    m, loss = card.model, card.loss
    d, tokens = m["width"], (m["image_size"] // m["patch_size"]) ** 2
    hidden = masked_count(tokens, m["mask_ratio"])
    seen = tokens - hidden
    mlp = 4 * m["mlp_ratio"] * d * d

    def trunk(n: int) -> float:
        return n * m["depth"] * (8 * d * d + mlp + 4 * n * d)

    routes = sum(bool(loss["pred"] * weight) for weight in loss["routes"].values())
    block = hidden * (8 * d * d + 4 * hidden * d) + hidden * (4 * d * d + 4 * seen * d)
    block += seen * 4 * d * d + hidden * mlp
    predictor = m["predictor_depth"] * block + hidden * 2 * d * d
    patch = sum(2 * count * m["patch_size"] ** 2 * d for count in bands.values())
    heads = 2 * (d * m["head_hidden"] + m["head_hidden"] * m["retrieval_dim"])
    total = 3 * 2 * trunk(seen) + 3 * routes * predictor + 2 * seen * patch
    total += 3 * 2 * len(m["retrieval_heads"]) * heads
    if routes:
        live = loss["targets"] == "live"
        total += (3 if live else 1) * 2 * trunk(hidden) + (2 if live else 1) * hidden * patch
    return total


def plain_loss(model: CRJEPA, batch: Batch, step: Step) -> Tensor:
    """The loss as one would first write it, on the weights of ``model``: image by image, route by
    route, nothing batched, the final card's terms only."""
    cfg, table = model.config.loss, model.config.model
    trunk, tokens, contexts, targets, places = model.trunks["ab"], {}, {}, {}, {}
    count = (table.image_size // table.patch_size) ** 2
    for x in MODALITIES:
        split = random_split(batch["keys"], count, table.mask_ratio, step.seed, step.epoch, x)
        tokens[x] = model.stems[x](batch[x])
        contexts[x] = trunk(gather(tokens[x], split.visible))
        with torch.no_grad():
            targets[x] = trunk(gather(tokens[x], split.hidden))
        places[x] = gather(model.stems[x].positions, split.hidden)
    total = torch.zeros((), device=batch["a"].device)
    for route, name in model.serves.items():
        found = model.predictors[name](contexts[route[0]], places[route[1]])
        weight = cfg.pred * getattr(cfg.routes, route)
        total = total + weight * nn.functional.mse_loss(found.float(), targets[route[1]].float())
    pooled = {x: contexts[x].mean(1) for x in MODALITIES}
    cross, uni = ({x: model.heads[v](pooled[x]) for x in MODALITIES} for v in ("cross", "uni"))
    total = total + cfg.cross * infonce(cross["a"], cross["b"], cfg.temperature)
    total = total + cfg.uni * infonce(uni["a"], uni["b"], cfg.temperature)
    total = total + cfg.uni * cosine_distance(uni["a"], uni["b"])
    seed = (step.seed, step.index)
    u = directions(cfg.sig_directions, table.retrieval_dim, *seed, device=pooled["a"].device)
    for view in (cross, uni):
        for x in MODALITIES:
            total = total + cfg.sig * sigreg(view[x], u, cfg.sig_knots) / 4
    return total


class Plain:
    """A plain eager step: default AdamW, no fused or batched anything."""

    def __init__(self, model: CRJEPA, card: MethodCard, precision: str) -> None:
        self.model, self.card, self.bf16 = model, card, precision == "bf16"
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=card.train.lr_start)

    def __call__(self, batch: Batch, step: Step) -> Tensor:
        self.optimizer.zero_grad()
        kind = batch["a"].device.type
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=self.bf16):
            loss = plain_loss(self.model, batch, step)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.card.train.clip)
        self.optimizer.step()
        return loss.detach()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, help="pairs a step (16; on a GPU 512)")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=200, help="of the GPU's long measurement")
    parser.add_argument("--threads", type=int, default=machine.cores())
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--small", action="store_true", help="tiny scale, matrices of 512")
    parser.add_argument("--json", action="store_true", help="print one JSON object only")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    full_precision()
    with tempfile.TemporaryDirectory() as folder:
        result = bench(args, Path(folder))
    if args.json:
        print(json.dumps(result))
    else:
        for key, value in result.items():
            print(f"{key:20s} {value}")


def bench(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """All figures, as plain data."""
    device = torch.device(args.device)
    size = args.batch or (512 if device.type == "cuda" else 16)
    scale = "tiny" if args.small else None
    full = load_method("cr-jepa", scale=scale, overrides=args.set)
    without = load_method("cr-jepa", scale=scale, overrides=[*args.set, "loss.pred=0.0"])
    precision = precision_of(full, device)
    torch.manual_seed(0)
    model, bare = (build_method(card, BANDS).to(device).train() for card in (full, without))
    assert isinstance(model, CRJEPA)
    plain = Plain(copy.deepcopy(model), full, precision)
    step, no_pred = (
        Stepper(m, card.train, precision, TOTAL // 100)
        for m, card in ((model, full), (bare, without))
    )
    batches = loader(folder, model.image_size, size, device)
    side = 512 if args.small else 4096 if device.type == "cpu" else 8192
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))

    times: dict[str, list[float]] = {}
    core: dict[str, list[float]] = {}
    differences: list[float] = []

    def timed(name: str, job: Callable[[], Any], keep: bool) -> Any:
        start, spent = time.perf_counter(), time.process_time()
        found = job()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if keep:
            times.setdefault(name, []).append(time.perf_counter() - start)
            core.setdefault(name, []).append(time.process_time() - spent)
        return found

    for turn in range(args.repeats + 1):  # the first warms up
        at, keep = Step(turn, 0, TOTAL, 0), turn > 0
        batch = timed("data", lambda: next(batches), keep)
        plain.model.load_state_dict(model.state_dict())
        ours = timed("step", lambda b=batch, s=at: step(b, s), keep)["loss"]
        theirs = timed("plain", lambda b=batch, s=at: plain(b, s), keep)
        differences.append(abs(float(ours) - float(theirs)) / abs(float(theirs)))
        timed("no_pred", lambda b=batch, s=at: no_pred(b, s), keep)
        timed("matmul", lambda: a @ b, keep)
    t = {name: statistics.median(values) for name, values in times.items()}
    flops = fewest_flops(full, BANDS) * size
    peak = 2 * side**3 / t["matmul"]
    result: dict[str, Any] = {
        **ratios(t, flops, side),
        "loss_rel_diff": max(differences),
        "data_wait_fraction": t["data"] / (t["data"] + t["step"]),
        "gflops_per_pair": flops / size / 1e9,
        "matmul_gflops_per_s": peak / 1e9,
        "seconds": t,
        "all_seconds": times,
        "batch": size,
        "precision": precision,
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "hardware": machine.hardware(),
        "versions": machine.versions(),
        "date": machine.now_utc()[:10],
    }
    if device.type == "cpu":
        spent = {name: statistics.median(values) for name, values in core.items()}
        result["core"] = ratios(spent, flops, side)
        result["core_seconds"] = spent
    if device.type == "cuda":
        result |= long_run(step, batches, size, args.steps, device)
    return result


def ratios(t: dict[str, float], flops: float, side: int) -> dict[str, float]:
    """What the seconds of the variants say of each other."""
    return {
        "fraction_of_matmul": flops / t["step"] / (2 * side**3 / t["matmul"]),
        "over_plain_step": t["step"] / t["plain"],
        "no_pred_over_full": t["no_pred"] / t["step"],
    }


def loader(folder: Path, side: int, size: int, device: torch.device) -> Iterator[dict[str, Tensor]]:
    """Batches without end, as training loads them, from a small twin made here."""
    sizes = {"train": 4 * size, "val": 2, "test": 2}
    overrides = [f"source.splits.{name}={count}" for name, count in sizes.items()]
    card = load_dataset("ben-14k-twin", overrides=overrides)
    cache = open_cache(build_cache(card, folder / "twin.h5", quiet=True))
    pairs = Pairs(cache, ["train"], image_size=side, device=device)
    yield from pairs.batches(Endless(epoch_batches(len(pairs), 0, 0, size)))


class Endless(list):
    """Blocks of positions over and over."""

    def __iter__(self) -> Iterator[Any]:
        return cycle(list.__iter__(self))


def long_run(
    step: Stepper, batches: Iterator[dict[str, Tensor]], size: int, count: int, device: torch.device
) -> dict[str, Any]:
    """Pairs a second over ``count`` steps with the loader, memory, 400 epochs of BEN-14K."""
    torch.cuda.reset_peak_memory_stats(device)
    start = time.perf_counter()
    for index in range(count):
        step(next(batches), Step(index, 0, TOTAL, 0))
    torch.cuda.synchronize(device)
    rate = count * size / (time.perf_counter() - start)
    return {
        "pairs_per_s": rate,
        "memory_gib": torch.cuda.max_memory_allocated(device) / 2**30,
        "epochs_400_min": 400 * (BEN14K_TRAIN // size * size) / rate / 60,
        "steps": count,
    }


if __name__ == "__main__":
    main()
