"""What the demo leaves and prints: every row's scores, pictures, and what to do next."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from matplotlib.image import imread

from crbench.data.cache.reading import open_cache
from crbench.evaluation.evaluate import evaluate
from crbench.records import Record, write_record
from crbench.site.demo import finish_demo

F1 = "f1_item@5"


def test_a_demo_is_finished_from_its_runs(
    trained_run: Path,
    twin_cache: Path,
    make_record: Callable[..., Record],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "demo {x} [red]"
    run = Path(shutil.copytree(trained_run, folder / "cr-jepa"))
    cache = folder / twin_cache.name
    cache.symlink_to(twin_cache)
    record = evaluate(run, quiet=True)
    floor = make_record("random", 1.0, cache=open_cache(twin_cache).digest).model_dump()
    floor["scores"]["ba"][F1] = {"value": None, "low": None, "high": None}
    floor["protocol"] = record.protocol.model_dump()
    floor["dataset"] = record.dataset.model_dump()
    write_record(folder / "random" / "record.json", Record.model_validate(floor))
    finish_demo(folder)
    rows = {row["method"]: row for row in json.loads((folder / "leaderboard.json").read_text())}
    assert set(rows) == {"cr-jepa", "random", "chance"}
    for direction in ("aa", "bb", "ab", "ba"):
        scores = record.scores[direction]  # type: ignore[index]
        own = rows["cr-jepa"]["scores"][direction]
        assert own[F1] == scores[F1].value and "pair_r@1" in own
    assert (rows["random"]["scores"]["ab"][F1], rows["random"]["scores"]["ba"][F1]) == (1.0, None)
    about = {key: rows["random"][key] for key in ("kind", "dataset", "synthetic", "protocol")}
    assert about == {"kind": "floor", "dataset": "ben-14k-twin", "synthetic": True,
                     "protocol": "leave-one-out"}  # fmt: skip
    for picture in ("grid.png", "curves.png"):
        assert min(imread(folder / picture).shape[:2]) > 300
    assert "CR-JEPA" in (folder / "leaderboard.md").read_text(encoding="utf-8")
    board, _, following = capsys.readouterr().out.partition("\nWritten to ")
    assert "Random encoder" in board and following.startswith(f"{folder}:\n")
    assert (
        f"--cache {cache} \\\n" in following and f"crbench evaluate {folder}/mask-25" in following
    )
