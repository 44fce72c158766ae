"""Training curves: what was logged, every point of it inside its panel."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from crbench.draw.curves import read_curve, training_curves, training_figure
from crbench.errors import UserError
from crbench.files import append_jsonl, write_json


def test_curves_read_what_training_logged(trained_run: Path, tmp_path: Path) -> None:
    curve = read_curve(trained_run)
    assert curve.loss["loss"][0] == [1, 2] and len(curve.loss["loss"][1]) == 2
    assert "pairs_per_s" not in curve.terms and "CR-JEPA" in curve.title
    image = imread(training_curves([trained_run, trained_run], tmp_path / "c.png"))
    assert image.shape[1] > 1000 and image[..., :3].std() > 0.05
    with pytest.raises(UserError, match="no training log"):
        read_curve(tmp_path)


@pytest.mark.filterwarnings("error")
def test_curves_of_many_epochs_are_drawn_without_a_warning(tmp_path: Path) -> None:
    for epoch in range(1, 31):
        append_jsonl(tmp_path / "metrics.jsonl", {"epoch": epoch, "loss": 1 / epoch, "uni": 0.5})
    write_json(tmp_path / "run.json", {"method": {"title": "CR-JEPA"}, "seed": 0})
    assert imread(training_curves([tmp_path], tmp_path / "c.png"))[..., :3].std() > 0.01


def test_a_run_of_one_epoch_has_whole_epochs_as_ticks_and_shows_its_scores(
    tmp_path: Path, drawn: list[Figure]
) -> None:
    scores = {"map": {"aa": 0.5, "ab": 0.25, "mean": 0.375}, "p@5": {"aa": None, "mean": None}}
    line = {"epoch": 1, "loss": 2.0, "jepa": 1.0, "seconds": 3.0, "val": {"scores": scores}}
    append_jsonl(tmp_path / "metrics.jsonl", line)
    write_json(tmp_path / "run.json", {"method": {"title": "CR-JEPA"}, "seed": 0})
    assert read_curve(tmp_path).scores == {"mAP": ([1], [0.375])}
    training_curves([tmp_path], tmp_path / "c.png")
    assert len(drawn[0].axes) == 3
    for axes in drawn[0].axes:
        low, high = axes.get_xlim()
        assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1.0]


@pytest.mark.parametrize("epochs", [1, 40])
def test_every_point_lies_inside_its_panel(
    tmp_path: Path, all_inside: Callable[[Figure], None], epochs: int
) -> None:
    """The last run trains longest and has the largest loss, terms and scores."""
    runs = [tmp_path / str(number) for number in range(3)]
    for number, run in enumerate(runs, 1):
        run.mkdir()
        write_json(run / "run.json", {"method": {"title": f"Method {number}"}, "seed": 0})
        for epoch in range(1, epochs * number + 1):
            line: dict[str, Any] = {"epoch": epoch, "loss": 10.0**number / epoch}
            line |= {"jepa": 50.0**number, "cross": 1e-3 / number}
            line["val"] = {"scores": {"map": {"mean": 0.3 * number * epoch / (epochs * number)}}}
            append_jsonl(run / "metrics.jsonl", line)
    figure = training_figure(runs)
    assert len(figure.axes) == 9
    all_inside(figure)
    for column, number in enumerate((1, 2, 3)):
        loss, terms, scores = figure.axes[column::3]
        assert max(loss.lines[0].get_ydata()) == 10.0**number
        assert {line.get_label() for line in terms.lines} == {"jepa", "cross"}
        assert len(scores.lines[0].get_xdata()) == epochs * number
