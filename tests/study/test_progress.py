"""What is said of runs in processes of their own, where there is no terminal."""

from __future__ import annotations

from pathlib import Path

import pytest

from crbench import progress
from crbench.files import append_jsonl, write_json
from crbench.study.launch import RunTask
from crbench.study.progress import show_runs


def test_lines_name_the_run_its_epochs_and_why_it_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "_LINE_S", 0.0)
    spec = {"out": str(tmp_path / "run"), "failure": str(tmp_path / "failed")}
    (tmp_path / "run").mkdir()
    task = RunTask("CR-JEPA", spec, tmp_path / "log", epochs=6)
    with show_runs([task], quiet=False) as tell:
        tell("CR-JEPA", "start", None)
        for epoch in (1, 2, 3):
            append_jsonl(tmp_path / "run" / "metrics.jsonl", {"epoch": epoch, "loss": 5.7})
        tell("", "tick", None)
        tell("", "tick", None)  # nothing new: nothing said
        write_json(tmp_path / "failed", {"what": "it rains"})
        tell("CR-JEPA", "end", 2)
    assert capsys.readouterr().err.splitlines() == [
        "CR-JEPA: started", "runs: 0/1, CR-JEPA 0/6 epochs",
        "runs: 0/1, CR-JEPA 3/6 epochs, loss 5.700", "CR-JEPA: failed: it rains", "runs: 1/1",
    ]  # fmt: skip


def test_quiet_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with show_runs([], quiet=True) as tell:
        tell("", "tick", None)
    assert capsys.readouterr().err == ""
