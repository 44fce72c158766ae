"""crbench list and doctor: the cards that ship, and what a machine offers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import Result

from crbench.cards import names

Crbench = Callable[..., Result]


def test_json_of_list_and_doctor(crbench: Crbench) -> None:
    listed = json.loads(crbench("list", "methods", "--json").output)
    assert {"name", "kind", "summary"} == set(listed["methods"][0]) and "datasets" not in listed
    assert {row["name"] for row in listed["methods"]} >= {"cr-jepa", "x-jepa", "rejepa", "random"}
    answers = json.loads(crbench("doctor", "--json").output)
    assert list(answers) == ["python", "torch", "device", "faiss", "threads", "caches", "disk"]
    assert not any(answer.startswith("broken") for answer in answers.values())


def test_both_kinds_of_cards_are_listed_with_what_they_are(crbench: Crbench) -> None:
    listed = json.loads(crbench("list", "--json").output)
    for kind in ("methods", "datasets"):
        assert [row["name"] for row in listed[kind]] == names(kind)
    kinds = {row["name"]: row["kind"] for row in listed["methods"] + listed["datasets"]}
    assert (kinds["cr-jepa"], kinds["cca"]) == ("method", "floor")
    assert (kinds["ben-14k-twin"], kinds["ben-14k"]) == ("synthetic", "real")
    printed = crbench("list", "datasets").output
    assert "ben-14k-twin" in printed and "cr-jepa" not in printed


def test_doctor_reports_a_broken_library_and_goes_on(
    crbench: Crbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    def no(*_: object) -> None:
        raise RuntimeError("driver is too old")

    monkeypatch.setattr(torch.cuda, "is_available", no)
    result = crbench("doctor")
    assert result.exit_code == 1
    assert "device   broken: RuntimeError: driver is too old" in result.output
    assert "disk" in result.output


def test_doctor_finds_caches_and_those_that_are_not_finished(
    crbench: Crbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert json.loads(crbench("doctor", "--json").output)["caches"].endswith("caches: none")
    (tmp_path / "caches").mkdir()
    (tmp_path / "caches" / "one.h5").write_bytes(b"x" * 2_000_000)
    (tmp_path / "caches" / "two.h5.part").write_bytes(b"x")
    answers = json.loads(crbench("doctor", "--json").output)
    assert answers["caches"].endswith("caches: one.h5 (2 MB); unfinished: two.h5.part")
    assert answers["threads"].endswith(", OMP_NUM_THREADS=1")
