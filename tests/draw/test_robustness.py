"""Curves over a key of a synthetic set: every point, bound and mark inside its panel."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from crbench.draw.robustness import key_curves, robustness_figure
from crbench.records import Record

F1 = "f1_item@5"
TOP = 0.93  # the highest value lies in the last panel, at the last value of the key


@pytest.fixture
def records(make_record: Callable[..., Record]) -> list[Record]:
    found = []
    others = [(name, 0.01) for name in ("x-jepa", "rejepa", "ridge-cca", "kernel-cca", "cca")]
    for method, lift in (("cr-jepa", 0.1), ("random", 0.0), *others):
        for seed in (0, 1):
            for at in (0.5, 2.0, 30.0):
                value = 0.02 + lift + 0.001 * seed + 0.01 * at
                values = {"ba": TOP if at == 30.0 else value}
                made = make_record(
                    method, value, seed=seed, dataset="ben-14k-twin-2", values=values
                )
                data = made.model_dump()
                data["trained_on"] = made.dataset.model_dump()
                data["dataset"]["card"]["source"]["looks"] = at
                data["ceiling"] = {d: {F1: 0.97} for d in made.scores}
                made = Record.model_validate(data)
                found.append(made)
    return found


def test_a_curve_is_the_mean_over_seeds_with_its_interval(records: list[Record]) -> None:
    curves = key_curves(records, "looks", F1)
    assert len(curves) == 7 * 4
    curve = curves[(records[0].method.title, "aa")]
    assert [x for x, _ in curve] == [0.5, 2.0, 30.0]
    first = curve[0][1]
    assert (first.value, first.n) == (pytest.approx(0.1255), 2)
    assert first.low is not None and first.high is not None
    # two seeds: t(0.975, 1) = 12.7062, sd of 0, 0.001 over sqrt(2) is 0.0005
    assert first.high - first.value == pytest.approx(12.7062 * 0.0005, rel=1e-4)


@pytest.mark.parametrize("log", [False, True])
def test_everything_drawn_lies_inside_its_panel(records: list[Record], log: bool) -> None:
    figure = robustness_figure(records, "looks", F1, words="speckle", log=log)
    figure.draw_without_rendering()
    assert [axes.get_title(loc="left") for axes in figure.axes] == [
        "S1→S1", "S2→S2", "S1→S2", "S2→S1",
    ]  # fmt: skip
    for axes in figure.axes:
        (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
        assert left < 0.5 and right > 30 and low == 0 and high > 97
        drawn = [line.get_xydata() for line in axes.lines[:7]]
        assert all(len(points) == 3 for points in drawn)
        assert all(0 <= y <= high for points in drawn for _, y in points)
        upright = [line for line in axes.lines if len(set(line.get_xdata())) == 1]
        assert upright[-1].get_xdata()[0] == 5.0  # of the training
    shown = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert shown == (["0.5", "2", "30"] if log else ["0.5", "", "30"])  # 2 would touch 0.5
    assert max(y for line in figure.axes[3].lines[:7] for y in line.get_ydata()) == 100 * TOP
    box, whole = figure.legends[0].get_window_extent(), figure.bbox
    assert whole.x0 <= box.x0 and box.x1 <= whole.x1
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts[-2:] == ["ceiling", "chance"] and "CR-JEPA" in texts
