"""What methods cost, and what was printed: on the terminal, and as the ``cost`` study's page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from crbench.board.markdown import markdown_table
from crbench.board.published import published_lines
from crbench.board.tables import DASH, millions, text_table
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
    console = Console()
    title = f"{result['title']}, scale {result['scale']}, on {result['dataset']}"
    table = Table(title=title, title_justify="left", box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    table.add_column(style="dim")
    for key, words in _COUNTS.items():
        table.add_row(words, f"{result[key]:,}")
    for name, size in result["members"].items():
        table.add_row(f"  {name}", f"{size:,}")
    for modality, value in result["gmacs_per_image"].items():
        if value is not None:
            bands = result["channels"][modality]
            said = f"{2 * value:.2f} GFLOPs"
            sensor = result["sensors"][modality]
            table.add_row(f"GMACs per image, {sensor} ({bands} bands)", f"{value:.2f}", said)
    if "latency_ms" in result:
        where = f"{result['device']}, {result['threads']} threads, {result['precision']}"
        table.add_row("latency, batch 1", f"{result['latency_ms']:.1f} ms", where)
        said = f"batch {result['batch_size']}"
        table.add_row("throughput", f"{result['throughput_per_s']:,.1f} images/s", said)
        table.add_row("peak memory", f"{result['peak_memory_gib']:.2f} GiB", result["memory_is"])
    for row in result["published"]:
        table.add_row(f"published: {row['figure']}", row["value"], f"{row['source']}; {row['why']}")
    console.print(table)
    said = f" {_RECONSTRUCTED}" if result["published"] else ""
    console.print(f"[dim]{result['convention']}.{said}[/]", highlight=False)


def write_cost(
    study: StudyCard, rows: Sequence[Mapping[str, Any]], dataset: str, out: Path
) -> list[Path]:
    """Write ``cost.json`` and ``cost.md`` into ``out`` from the profiles of the study's rows."""
    paths = [out / f"{study.name}.json", out / f"{study.name}.md"]
    write_json(paths[0], {"study": study.name, "dataset": dataset, "rows": list(rows)})
    write_text(paths[1], _cost_markdown(study, rows, dataset))
    return paths


def _cost_markdown(study: StudyCard, rows: Sequence[Mapping[str, Any]], dataset: str) -> str:
    """The page of the ``cost`` study: measured and printed figures in tables of their own."""
    printed_head = ["row", "figure", "value", "note", "source"]
    head = ["row", "trainable (M)", "all (M)", "inference (M)"]
    head += [f"GMACs {sensor}" for sensor in rows[0]["sensors"].values()]
    head += ["latency (ms)", "images/s", "peak memory (GiB)"]
    measured, printed = [], []
    for row in rows:
        counts = [millions(row[key]) for key in _COUNTS]
        macs = [DASH if v is None else f"{v:.2f}" for v in row["gmacs_per_image"].values()]
        timed = [DASH] * 3
        if "latency_ms" in row:
            timed = [f"{row['latency_ms']:.0f}", f"{row['throughput_per_s']:.1f}"]
            timed.append(f"{row['peak_memory_gib']:.1f}")
        measured.append([row["row"], *counts, *macs, *timed])
        printed += [
            [row["row"], p["figure"], p["value"], p["why"], p["source"]] for p in row["published"]
        ]
    first = next((row for row in rows if "latency_ms" in row), None)
    where = "Counted only."
    if first:
        where = (
            f"Latency at batch 1, images/s at batch {first['batch_size']}, {first['precision']}; "
            f"{first['hardware']['processor']} ({first['device']}, {first['threads']} threads), "
            f"{first['date']}. Memory: {first['memory_is']}."
        )
    return "\n".join(
        [
            f"# {study.title}, on the bands of {dataset}, scale {rows[0]['scale']}\n",
            f"{study.question} Made by `crbench ablate {study.name} --dataset {dataset}`.\n",
            "## Measured\n",
            markdown_table(text_table("Measured", head, measured)),
            f"{rows[0]['convention']}. {where}\n",
            f"{_RECONSTRUCTED} docs/parameters.md says what was chosen, and why.\n",
            "## Published\n",
            markdown_table(text_table("Published", printed_head, printed, left=printed_head)),
        ]
    )
