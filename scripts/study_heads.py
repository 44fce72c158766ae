"""Every head in every direction: which rows of a published table could have been scored by which.

An ablation that trains one of CR-JEPA's two heads leaves the other as initialised, and a paper
that does not say which head served which direction can be read in several ways. This scores all
readings of the runs that a study has left under runs/ablations, and writes a table of the means
over seeds beside the published row.

    python scripts/study_heads.py table-s2a --dataset ben-14k-twin --scale tiny
"""

from __future__ import annotations

import argparse
import statistics
import sys
from dataclasses import replace
from pathlib import Path

import h5py

from crbench.board.markup import markdown_table
from crbench.board.published import printed
from crbench.board.tables import text_table
from crbench.cards import load_dataset
from crbench.data.cache.reading import Cache, default_path, open_cache
from crbench.embedding.embedder import embed_run
from crbench.embedding.file import read_embeddings
from crbench.errors import UserError
from crbench.evaluation.evaluate import items
from crbench.files import write_text
from crbench.run.folder import RunFolder
from crbench.run.opened import open_run
from crbench.scoring import score_directions
from crbench.study.cards import load_study, row_jobs
from crbench.words import DIRECTIONS, arrow

METRIC = "f1_item@5"


def by_view(run: Path, data: Cache, view: str) -> dict[str, float]:
    """F1@5 in each direction with ``view`` on both sides; no interval is computed."""
    protocol = data.card.protocols[data.card.protocol]
    query, gallery = items(data, protocol.query), items(data, protocol.gallery)
    serves = {d: (f"{d[0]}/{view}", f"{d[1]}/{view}") for d in DIRECTIONS}
    vectors = read_embeddings(embed_run(open_run(run, cache=data.path), quiet=True), data.ids)
    result = score_directions(
        replace(vectors, serves=serves).pairs(query.ids, gallery.ids),
        query,
        gallery,
        label_kind=data.card.labels.kind,
        classes=data.card.labels.classes,
    )
    return {d: float(result["scores"][d][METRIC]["value"]) for d in DIRECTIONS}


def shared_views(run: Path) -> list[str]:
    """Views that both modalities have."""
    with h5py.File(RunFolder(run).embeddings, "r") as file:
        return sorted(set(file["a"]) & set(file["b"]))


def main() -> int:
    """Score and write; exit code 2 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("study")
    parser.add_argument("--dataset", default="ben-14k-twin")
    parser.add_argument("--scale", default=None)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    study = load_study(options.study)
    data = open_cache(default_path(load_dataset(options.dataset)))
    sensors = {m: data.card.modality(m).name for m in ("a", "b")}
    lines = []
    for row in study.rows:
        found = row_jobs(row, options.dataset, options.scale, options.seeds)
        runs = [job.folder() for job in found if RunFolder(job.folder()).record.is_file()]
        for view in shared_views(runs[0]) if runs else []:
            values = [by_view(run, data, view) for run in runs]
            means = [100 * statistics.fmean(v[d] for v in values) for d in DIRECTIONS]
            lines.append([row.name, f"`{view}`", *(f"{m:.1f}" for m in means), str(len(runs))])
            print(lines[-1], flush=True)
        benchmark = study.benchmark(options.dataset)
        for line in printed(row.published or study.published, benchmark, row.printed, row.name):
            cells = ["–" if v is None else f"{100 * v:.1f}" for v in line.values.values()]
            lines.append([row.name, "published", *cells, "–"])
    head = ["row", "served by", *(arrow(d, sensors) for d in DIRECTIONS), "n"]
    out = options.out or Path("results/ablations") / options.dataset / f"{study.name}-heads.md"
    title = f"# {study.table}, each head in all directions, on {data.card.title}\n"
    about = (
        f"F1@5 (item), percent, means over n seeds, scale {options.scale or 'paper'}; `published` "
        f"is the paper's row on {study.benchmark(options.dataset)}. Made by "
        f"`scripts/study_heads.py {study.name}` from the runs' embeddings under `runs/ablations`;\n"
        "runs made by other commands, here those of the reference row, are left out.\n"
    )
    write_text(out, "\n".join([title, about, markdown_table(text_table("Heads", head, lines))]))
    print(out)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
