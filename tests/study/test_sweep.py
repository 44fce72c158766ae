"""Sweeps: every combination once, the best first, told from the others by seeds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from crbench.errors import UserError
from crbench.files import append_jsonl, read_jsonl, write_json
from crbench.study.ablate import StudySettings
from crbench.study.cards import Job
from crbench.study.sweep import AS_IT_IS, SweepCard, load_sweep, sweep_tries, val_scores

BY = "pair_r@5"
CARD = """
name = "two"
title = "Two"
question = "Which?"
method = "cr-jepa"
also = [["loss.same=1"]]

[axes]
"loss.sig" = [0.0, 0.5]
"loss.targets" = ["live"]
"""


def planted(place: Path, values: dict[str, list[float]]) -> list[Job]:
    """The jobs of a sweep over loss.sig and logs that hold these means, by seed."""
    card = SweepCard(
        name="x", title="X", question="?", method="cr-jepa",
        axes={"loss.sig": [float(sig) for sig in values if sig != AS_IT_IS]},
    )  # fmt: skip
    settings = StudySettings(card.study(), "ben-14k-twin", place, scale="tiny", seeds=3)
    for job in settings.jobs:
        mean = values[job.row.removeprefix("loss.sig=")][job.seed]
        scores = {BY: {"ab": mean - 0.1, "ba": mean + 0.1, "mean": mean}}
        val = {"scores": scores, "collapsed": None, "narrow": "x" if job.row == AS_IT_IS else None}
        folder = job.folder(place)
        folder.mkdir(parents=True)
        append_jsonl(folder / "metrics.jsonl", {"epoch": job.card.train.epochs, "val": val})
    return settings.jobs


def test_every_combination_is_a_row_beside_the_card_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "two.toml").write_text(CARD)
    rows = load_sweep(str(tmp_path / "two.toml")).study().rows
    assert [row.set for row in rows] == [
        [], ["loss.sig=0.0", "loss.targets=live"], ["loss.sig=0.5", "loss.targets=live"],
        ["loss.same=1"],
    ]  # fmt: skip
    assert {row.method for row in rows} == {"cr-jepa"}


def test_the_best_stands_first_and_the_others_lie_behind_it_by_seed(tmp_path: Path) -> None:
    means = {AS_IT_IS: [0.30, 0.31, 0.32], "0.5": [0.50, 0.52, 0.54], "0.7": [0.53, 0.50, 0.56]}
    tries = sweep_tries(planted(tmp_path, means), BY, tmp_path)
    assert [one.row for one in tries] == ["loss.sig=0.7", "loss.sig=0.5", AS_IT_IS]
    assert tries[0].score == pytest.approx(0.53) and tries[2].mark == "near collapse"
    behind = tries[2].behind
    assert behind is not None and behind.n == 3 and behind.value == pytest.approx(-0.22)
    # differences −0.23, −0.19, −0.24: sd 0.0264575, t(0.975, 2) = 4.30265
    assert behind.low == pytest.approx(-0.22 - 4.30265 * 0.0264575 / 3**0.5, abs=1e-6)


def test_a_run_that_is_not_done_has_no_score(tmp_path: Path) -> None:
    jobs = planted(tmp_path, {AS_IT_IS: [0.1] * 3, "0.5": [0.2] * 3})
    log = jobs[0].folder(tmp_path) / "metrics.jsonl"
    (line,) = read_jsonl(log)
    assert val_scores(jobs[0], tmp_path, BY) == line["val"]
    assert val_scores(jobs[0], tmp_path, "map") is None
    log.write_text(json.dumps(line | {"epoch": 1}) + "\n")
    assert val_scores(jobs[0], tmp_path, BY) is None
    log.write_text(json.dumps({"epoch": line["epoch"]}) + "\n")  # trained without val
    assert val_scores(jobs[0], tmp_path, BY) is None
    log.unlink()
    assert val_scores(jobs[0], tmp_path, BY) is None
    write_json(jobs[0].aside("failures", tmp_path), {"what": "no memory"})
    (one,) = [t for t in sweep_tries(jobs, BY, tmp_path) if t.row == jobs[0].row]
    assert one.problem == "failed: no memory" and sorted(one.values) == [1, 2]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ('name = "x"\ntitle = "X"\nquestion = "?"\nmethod = "cr-jepa"', "nothing to try"),
        (CARD.replace("[0.0, 0.5]", "[0.5, 0.5]"), "repeats"),
    ],
)
def test_a_card_without_sense_is_refused(text: str, named: str, tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(UserError, match=named):
        load_sweep(str(tmp_path / "bad.toml"))
