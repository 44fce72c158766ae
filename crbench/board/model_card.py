"""The README.md that goes with a pushed run, made from its statement and its records alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crbench.files import read_json
from crbench.records import Record, read_record
from crbench.words import DIRECTIONS, arrow, definition, title

TAGS = ("remote-sensing", "cross-modal-retrieval", "jepa", "crbench")


def model_card(run: Path) -> str:
    """Markdown with what it is, scores, data, protocol, use and licences; ``run`` is finished."""
    info = read_json(run / "run.json")
    method, data = info["method"], info["dataset"]
    records = [read_record(path) for path in sorted(run.glob("record*.json"))]
    lines = [*_front(), f"# {method['title']} on {data['title']}", ""]
    lines += [f"{method['summary']} ({method['paper']}).", "", *_facts(info), ""]
    lines += ["## Scores", ""]
    if not records:
        lines += ["Not evaluated yet: `crbench evaluate` on the pulled run.", ""]
    for record in records:
        lines += _scores(record)
    lines += _data(data) + _use(info)
    return "\n".join(lines).rstrip() + "\n"


def _front() -> list[str]:
    """The hub's header; the licence of weights is for who pushes them to state."""
    return ["---", "library_name: crbench", "tags:", *(f"- {tag}" for tag in TAGS), "---", ""]


def _facts(info: Mapping[str, Any]) -> list[str]:
    sensors = " and ".join(
        f"{m['name']} ({', '.join(m.get('use') or m['bands'])})"
        for m in (info["dataset"][which] for which in ("a", "b"))
    )
    facts = {
        "scale": info["method"]["scale"],
        "sensors": sensors,
        "training": f"{info['epochs_done']} epochs, {info['steps']} steps on {info['n_train']:,} "
        f"pairs, seed {info['seed']}, {info['precision']} on {info['device']}",
        "splits trained on": ", ".join(info["dataset"]["train_splits"]),
        "cache": f"`{info['cache_digest']}`",
    }
    if best := info.get("best"):
        facts["best weights"] = (
            f"epoch {best['epoch']}: {title(best['metric'])} {100 * best['value']:.1f} on val, "
            "mean of the directions"
        )
    return ["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in facts.items())]


def _scores(record: Record) -> list[str]:
    sensors = {str(which): entry.name for which, entry in record.modalities.items()}
    used, names = record.protocol, record.dataset.card["headline"]
    scores = {str(direction): found for direction, found in record.scores.items()}
    checkpoint = record.training.checkpoint if record.training else "unknown"
    shown = [d for d in DIRECTIONS if d in scores]
    lines = [
        f"Protocol {used.name}: queries {', '.join(used.query)} ({used.n_query:,}), gallery "
        f"{', '.join(used.gallery)} ({used.n_gallery:,}); {checkpoint} weights. "
        "Percent, 95 % intervals over queries.",
        "",
        "| | " + " | ".join(arrow(d, sensors) for d in shown) + " |",
        "|---|" + "---:|" * len(shown),
    ]
    for name in names:
        cells = [_cell(scores[d].get(name)) for d in shown]
        lines.append(f"| {title(name)} | " + " | ".join(cells) + " |")
    lines.append("")
    lines += [f"{title(name)}: {definition(name, _kind(record))}." for name in names]
    if record.collapsed:
        lines += ["", f"**Collapsed**: {record.health['collapsed_reason']}."]
    if record.dataset.synthetic:
        lines += ["", "The data are **synthetic**: these numbers say nothing about real imagery."]
    return [*lines, ""]


def _kind(record: Record) -> str:
    return str(record.dataset.card["labels"]["kind"])


def _cell(value: Any) -> str:
    if value is None or value.value is None:
        return "–"
    if value.low is None:
        return f"{100 * value.value:.1f}"
    return f"{100 * value.value:.1f} ({100 * value.low:.1f}–{100 * value.high:.1f})"


def _data(data: Mapping[str, Any]) -> list[str]:
    return [
        "## Data",
        "",
        f"{data['title']}: {data['summary']}. Licence of the data: {data['licence']}. "
        f"{data['citation']}. From: {data['where']}.",
        "",
    ]


def _use(info: Mapping[str, Any]) -> list[str]:
    shapes = ", ".join(
        f"{m}: {len(info['dataset'][m].get('use') or info['dataset'][m]['bands'])} bands"
        for m in ("a", "b")
    )
    return [
        "## Use",
        "",
        "```sh",
        "crbench hub pull SOURCE runs/pulled",
        "crbench evaluate runs/pulled --cache CACHE",
        "```",
        "",
        "The weights alone embed native images; normalisation and size are inside:",
        "",
        "```python",
        "import crbench",
        'model = crbench.load("weights.safetensors")',
        f'views = model.embed(images, "a")  # (B, C, H, W) in stored units; {shapes}',
        "```",
        "",
        "Everything else is in `run.json` (cards, seed, versions) and `card.toml`; the command was",
        "",
        f"```sh\n{json.dumps(info['command'], ensure_ascii=False)[1:-1]}\n```",
    ]
