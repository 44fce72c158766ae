"""``crbench profile``: parameters, operations, latency, throughput and memory of a method.

Operations are counted, not estimated: ``torch.utils.flop_counter`` sees every matrix product,
convolution and attention of one call. Convention: one multiply-accumulate (MAC) is two
floating-point operations (FLOPs); norms, activations, softmax and additions are not counted. The
counts need no memory and no data, so the paper's size is counted on any machine.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from crbench import machine
from crbench.cards import MethodCard, load_dataset, load_method
from crbench.models.base import Method, count
from crbench.models.registry import build_method, method_class
from crbench.run.devices import (
    device_name,
    full_precision,
    peak_memory,
    pick_device,
    precision_of,
)
from crbench.run.opened import band_counts
from crbench.seeds import derive
from crbench.words import MODALITIES, Modality

CONVENTION = (
    "GMACs: matrix products, convolutions and attention of one image, all views, counted by "
    "torch.utils.flop_counter; 1 MAC = 2 FLOPs"
)
LATENCY_S, THROUGHPUT_S = 3.0, 5.0  # time given to each measurement, per modality
REPEATS = 20
BATCH = {"cuda": 256, "cpu": 16}


def profile(
    method: str,
    dataset: str,
    *,
    scale: str | None = None,
    overrides: Sequence[str] = (),
    device: str = "auto",
    threads: int | None = None,
    batch: int | None = None,
    timed: bool = True,
    seed: int = 0,
) -> dict[str, Any]:
    """What a method costs on the bands of a dataset, as plain data; no cache is needed.

    ``params_*`` count scalars (total: with targets and fixed positions), ``gmacs_per_image`` is by
    modality (None for one that the model does not see, and for closed forms), ``latency_ms`` is the
    median of one image at a time and ``throughput_per_s`` images a second at ``batch``, each the
    mean over modalities, in fp32 as evaluation embeds. ``timed=False`` counts only.
    """
    card = load_method(method, scale=scale, overrides=overrides)
    bands = load_dataset(dataset)
    channels = band_counts(bands)
    trained = method_class(card).trained_by == "gradient"
    with torch.device("meta" if trained else "cpu"):
        model = build_method(card, channels)
    seen: list[Modality] = [m for m in MODALITIES if any(m in d for d in model.directions)]
    seen = seen if trained else []  # a closed form has no cost worth a table
    members = {name: _size(part) for name, part in model.parts().items()}
    parts: dict[str, int] = {}
    for name, size in members.items():
        group = name.partition(".")[0]
        parts[group] = parts.get(group, 0) + size
    result: dict[str, Any] = {
        "method": card.name,
        "title": card.title,
        "scale": card.scale,
        "digest": card.digest,
        "dataset": dataset,
        "channels": channels,
        "sensors": {m: bands.modality(m).name for m in MODALITIES},
        "image_size": model.image_size if card.model else None,
        "params_trainable": count(p for p in model.parameters() if p.requires_grad),
        "params_total": count(model.parameters()),
        "params_inference": count(model.inference_parameters()),
        "parts": parts,
        "members": members,
        "convention": CONVENTION,
        "gmacs_per_image": {m: macs(model, m) / 1e9 if m in seen else None for m in MODALITIES},
    }
    if timed and seen:
        result |= _timed(card, channels, seen, device, threads, batch, seed)
    return result


def _size(part: nn.Module | list[nn.Module]) -> int:
    modules = part if isinstance(part, list) else [part]
    return count(p for module in modules for p in module.parameters())


def macs(model: Method, modality: Modality) -> int:
    """Multiply-accumulates of embedding one image; ``model`` may lie on the meta device."""
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    shape = (1, model.bands[modality], model.image_size, model.image_size)
    was, model.training = model.training, False
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.embed(torch.empty(shape, device=device), modality)
    model.training = was
    return int(counter.get_total_flops()) // 2


def _timed(
    card: MethodCard,
    channels: dict[str, int],
    seen: list[Modality],
    device: str,
    threads: int | None,
    batch: int | None,
    seed: int,
) -> dict[str, Any]:
    """Latency, throughput and memory on the device at hand, on normal-distributed pixels."""
    chosen = pick_device(device)
    torch.set_num_threads(threads or machine.cores())
    full_precision()
    torch.manual_seed(derive(seed, "profile"))
    model = build_method(card, channels).to(chosen).eval()
    size = batch or BATCH.get(chosen.type, BATCH["cpu"])
    latency, throughput = {}, {}
    if chosen.type == "cuda":
        torch.cuda.reset_peak_memory_stats(chosen)
    for modality in seen:
        shape = (channels[modality], model.image_size, model.image_size)
        one, many = (torch.randn(n, *shape, device=chosen) for n in (1, size))
        latency[modality] = statistics.median(_times(model, one, modality, LATENCY_S))
        throughput[modality] = size / statistics.median(_times(model, many, modality, THROUGHPUT_S))
    peak = peak_memory("profile", chosen)
    return {
        "latency_ms": 1e3 * statistics.fmean(latency.values()),
        "latency_ms_by_modality": {m: 1e3 * value for m, value in latency.items()},
        "throughput_per_s": statistics.fmean(throughput.values()),
        "throughput_per_s_by_modality": throughput,
        "batch_size": size,
        "peak_memory_gib": peak.get("profile_gpu", peak["profile_rss"]),
        "memory_is": "allocated on the device"
        if chosen.type == "cuda"
        else "resident size of the whole process, PyTorch included",
        "device": device_name(chosen),
        "threads": torch.get_num_threads(),
        "precision": "fp32",
        "training_precision": precision_of(card, chosen),
        "hardware": machine.hardware(),
        "versions": machine.versions(),
        "date": machine.now_utc()[:10],
    }


def _times(model: Method, images: torch.Tensor, modality: Modality, budget: float) -> list[float]:
    """Seconds of single calls: one to warm up, then up to ``REPEATS`` within the budget."""
    times: list[float] = []
    with torch.no_grad():
        for index in range(1 + REPEATS):
            began = time.perf_counter()
            model.embed(images, modality)
            if images.device.type == "cuda":
                torch.cuda.synchronize(images.device)
            times.append(time.perf_counter() - began)
            if index >= 1 and sum(times[1:]) > budget:
                break
    return times[1:]
