"""``crbench evaluate``: a run or anyone's embeddings, scored or compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from crbench.cli import options as opt
from crbench.errors import UserError
from crbench.words import arrow, title

if TYPE_CHECKING:
    from crbench.records import Record

_MORE = ("f1_item@5", "f1_item@10", "map", "p@5", "ndcg@10", "mrr", "pair_r@5")


def evaluate_command(
    paths: list[Path] = typer.Argument(
        metavar="PATH",
        help="Run folder, or file of embeddings (.h5, .npz, .parquet). Several, or a quoted "
        "pattern, with --compare: one training seed each.",
    ),
    dataset: str | None = typer.Option(None, help="Dataset card of a file of embeddings."),
    name: str | None = typer.Option(None, help="What a file of embeddings goes by on boards."),
    compare: list[Path] | None = typer.Option(
        None,
        metavar="PATH",
        help="Compare with this run or file on the same queries; repeatable, or a pattern.",
    ),
    protocol: str | None = typer.Option(
        None, help="Protocol of the dataset card, not its default."
    ),
    cache: opt.CacheFile = None,
    out: Path | None = typer.Option(None, help="Record file instead of the usual place."),
    device: opt.Device = "auto",
    grid: Path | None = typer.Option(None, help="Also write a PNG of retrievals there."),
    on: str | None = typer.Option(
        None, metavar="CARD", help="Score a run on this dataset instead of its own."
    ),
    approximate: str | None = typer.Option(
        None,
        metavar="ivf|hnsw",
        help="Search the top k by this index of FAISS; no mAP, and the record is marked.",
    ),
    weights: opt.Weights = "last",
    probe: bool = typer.Option(
        False, "--probe", help="Add a linear probe, a supervised reference."
    ),
    as_json: opt.AsJson = False,
    quiet: opt.Quiet = False,
) -> None:
    """Score a run or anyone's embeddings in four directions; leaves one record JSON.

    With --compare: the differences of two, paired by query, and whether they are significant.
    """
    opt.check_picture(grid)
    shared: dict[str, Any] = {
        "dataset": dataset,
        "protocol": protocol,
        "cache": cache,
        "out": out,
        "device": device,
        "quiet": quiet or as_json,
    }
    if compare:
        alone = {
            "--on": on,
            "--name": name,
            "--grid": grid,
            "--approximate": approximate,
            "--probe": probe,
        }
        opt.refuse_options(alone, "does not go with --compare", fix="leave one of them out")
        _compare(paths, compare, shared, as_json)
        return
    from crbench.evaluation.evaluate import evaluate as run_evaluate
    from crbench.run.devices import joined

    if len(paths) > 1:
        raise UserError(
            f"{len(paths)} runs at once",
            where=paths[1],
            fix="evaluate one at a time, or name others by --compare",
        )
    run = paths[0]
    if grid is not None and run.is_file():
        raise UserError("a grid is drawn of a run", where=run, fix="leave out --grid")
    scored: list[Any] = []  # the run, opened, for its grid
    with joined() as ranks:
        more: dict[str, Any] = {
            "approximate": approximate,
            "weights": weights,
            "probe": probe,
            "on": on,
        }
        record = run_evaluate(
            run,
            name=name,
            ranks=ranks,
            then=scored.append,
            time_query=True,
            **shared,
            **more,
        )
    if not ranks.first:
        return
    if as_json:
        print(record.model_dump_json(indent=2))
    else:
        from crbench.board.rows import boards
        from crbench.board.tables import print_boards

        print_boards(boards([record]))
        print(_more(record))
    if grid is not None:
        from crbench.draw.grids import retrieval_grid

        opened = scored[0]
        shown = opened.cache, opened.embeddings, opened.protocol
        print(retrieval_grid(*shown, grid, title=opened.title))


def _more(record: Record) -> str:
    """What is asked for beside the headline: other metrics, percent by direction, and the time of
    a query; all of it stands in the record."""
    lines, sensors = [], {str(m): entry.name for m, entry in record.modalities.items()}
    for metric in _MORE:
        values = {d: part[metric].value for d, part in record.scores.items() if metric in part}
        cells = [f"{arrow(d, sensors)} {100 * v:.1f}" for d, v in values.items() if v is not None]
        if cells and metric not in record.dataset.card["headline"]:
            lines.append(f"{title(metric)}: {'  '.join(cells)}")
    embed, search = (record.timings.get(f"query_{name}_s") for name in ("embed", "search"))
    if search is not None:
        parts = [f"embedding {1000 * embed:.1f}"] if embed is not None else []
        parts.append(f"search of {record.protocol.n_gallery:,} items {1000 * search:.2f}")
        lines.append(f"one query, ms: {', '.join(parts)} ({record.devices.get('embed', 'cpu')})")
    return "\n".join(lines)


def _compare(a: list[Path], b: list[Path], shared: dict[str, Any], as_json: bool) -> None:
    """Compare, print the table or JSON, and write the JSON to ``out`` if given."""
    from crbench.board.comparison import comparison_data, print_comparison_table
    from crbench.evaluation.compare import compare_runs
    from crbench.files import write_json

    comparison = compare_runs(a, b, **shared)
    if shared["out"] is not None:
        write_json(shared["out"], comparison_data(comparison))
    if as_json:
        opt.print_json(comparison_data(comparison))
    else:
        print_comparison_table(comparison)
