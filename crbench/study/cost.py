"""What methods cost, and what was printed: on the terminal, and as the ``cost`` study's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from crbench.board.published import published_lines
from crbench.board.tables import millions, terminal_table, text_table
from crbench.board.writers import page
from crbench.files import write_json, write_text
from crbench.study.cards import StudyCard

_PARAM_FILES = ("table-1.csv", "table-s5.csv")  # files that print a number of parameters
_COUNTS = {
    "params_trainable": "trainable parameters",
    "params_total": "all parameters (with targets and fixed positions)",
    "params_inference": "parameters that embedding needs",
}
_RECONSTRUCTED = "Parameter counts are a reconstruction that fits every published figure."


def published_cost(title: str, dataset: str) -> list[dict[str, str]]:
    """Printed figures of a method by its title: ``{"figure", "value", "source", "why"}``."""
    figures: list[dict[str, str]] = []

    def add(row: dict[str, str], figure: str, value: str, why: str) -> None:
        source = f"{row['source']}, {row['table']}"
        figures.append({"figure": figure, "value": value, "source": source, "why": why})

    for row in published_lines("cost.csv"):
        if (row["method"], row["dataset"]) == (title, dataset):
            add(row, "GFLOPs per image", row["gflops_per_image"], row["why"])
            device = f"{row['device']}, batch {row['batch_size']}"
            add(row, "latency, ms", row["latency_ms"], device)
    for name in _PARAM_FILES:
        for row in published_lines(name):
            method = row.get("method") or row["setting"]
            if (method, row["dataset"]) == (title, dataset) and row["params_m"]:
                why = "which parameters are counted is not stated"
                add(row, "parameters, M", row["params_m"], why)
    return figures


def print_profile(result: Mapping[str, Any]) -> None:
    """A profile for people."""
    console = Console(highlight=False)
    lines = [[words, f"{result[key]:,}", ""] for key, words in _COUNTS.items()]
    lines += [[f"  {name}", f"{size:,}", ""] for name, size in result["members"].items()]
    for modality, count in result["gmacs_per_image"].items():
        if count is not None:
            sensor, bands = (result[key][modality] for key in ("sensors", "channels"))
            label = f"GMACs per image, {sensor} ({bands} bands)"
            lines.append([label, f"{count:.2f}", f"{2 * count:.2f} GFLOPs"])
    if "latency_ms" in result:
        where = f"{result['device']}, {result['threads']} threads, {result['precision']}"
        rate = f"{result['throughput_per_s']:,.1f} images/s"
        lines += [
            ["latency, batch 1", f"{result['latency_ms']:.1f} ms", where],
            ["throughput", rate, f"batch {result['batch_size']}"],
            ["peak memory", f"{result['peak_memory_gib']:.2f} GiB", result["memory_is"]],
        ]
    for row in result["published"]:
        note = f"{row['source']}; {row['why']}"
        lines.append([f"published: {row['figure']}", row["value"], note])
    title = f"{result['title']}, scale {result['scale']}, on {result['dataset']}"
    heads = ["figure", "value", "note"]
    console.print(terminal_table(text_table(title, heads, lines, left=["note"]), title))
    more = f" {_RECONSTRUCTED}" if result["published"] else ""
    console.print(f"[dim]{result['convention']}.{more}[/]")


def write_cost(
    study: StudyCard, rows: Sequence[Mapping[str, Any]], dataset: str, out: Path
) -> list[Path]:
    """Write ``cost.json`` and ``cost.md`` into ``out`` from the profiles of the study's rows;
    measured and printed figures stand in tables of their own."""
    paths = [out / f"{study.name}.json", out / f"{study.name}.md"]
    write_json(paths[0], {"study": study.name, "dataset": dataset, "rows": list(rows)})
    about = {"study": study, "dataset": dataset, "rows": rows}
    write_text(paths[1], page("cost.md", **about, millions=millions, reconstructed=_RECONSTRUCTED))
    return paths
