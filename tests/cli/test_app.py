"""Bad input: one message with what, where and a fix, exit code 2, and nothing overwritten."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import Result

from crbench.cli import app
from crbench.errors import UserError

Crbench = Callable[..., Result]
Refused = Callable[..., None]


def files(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize(
    ("words", "pieces"),
    [
        (("train", "cr-jeppa", "ben-14k-twin"), ("unknown method 'cr-jeppa'", "'cr-jepa'?")),
        (("train", "cr-jepa", "ben-14k-twn"), ("unknown dataset 'ben-14k-twn'", "'ben-14k-twin'")),
        (("train", "cr-jepa", "ben-14k-twin"), ("no such cache", "fix: crbench cache build")),
        (("train", "cr-jepa", "x.toml"), ("no such card", "where: x.toml")),
        (
            ("train", "cr-jepa", "ben-14k-twin", "--set", "model.dept=3"),
            ("unknown key 'model.dept'", "did you mean 'model.depth'?"),
        ),
        (("train", "cr-jepa", "ben-14k-twin", "--set", "depth"), ("is no override", "key=value")),
        (("train", "cr-jepa", "ben-14k-twin", "--scale", "tny"), ("unknown scale", "'tiny'?")),
        (
            ("train", "cr-jepa", "ben-14k-twin", "--epochs", "-3"),
            ("Invalid value for '--epochs'", "1"),
        ),
        (
            ("train", "cr-jepa", "ben-14k-twin", "--epochs", "many"),
            ("Invalid value for '--epochs'", "integer"),
        ),
        (("train", "cr-jepa", "ben-14k-twin", "--seed", "-1"), ("Invalid value for '--seed'", "0")),
        (
            ("train", "cr-jepa", "ben-14k-twin", "--threads", "0"),
            ("Invalid value for '--threads'", "1"),
        ),
        (("train", "cr-jepa"), ("Missing argument", "dataset")),
        (("evaluate", "nowhere"), ("no such run folder", "where: nowhere")),
        (("embed", "nowhere"), ("no such run folder", "where: nowhere")),
        (("cache", "verify", "nowhere.h5"), ("no such cache", "where: nowhere.h5")),
        (("cache", "info", "ben-14k-twin"), ("no such cache", "ben-14k-twin.h5", "fix:")),
        (("cache", "preview", "bn-14k"), ("unknown dataset 'bn-14k'", "'ben-14k'?")),
        (("cache", "build", "nothing"), ("unknown dataset 'nothing'", "known:")),
        (
            ("cache", "preview", "ben-14k-twin", "--pairs", "0"),
            ("Invalid value for '--pairs'", "1"),
        ),
        (("leaderboard", "--records", "nowhere"), ("no such record or folder", "where: nowhere")),
        (("list", "models"), ("models", "methods")),
        (("demo", "--pairs", "3"), ("Invalid value for '--pairs'", "64")),
        (("fly",), ("No such command", "fly")),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_bad_input(
    crbench: Crbench,
    refused: Refused,
    tmp_path: Path,
    words: tuple[str, ...],
    pieces: tuple[str, ...],
) -> None:
    refused(crbench(*words), *pieces)
    assert files(tmp_path) == {}


def test_a_folder_that_is_no_run(crbench: Crbench, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.txt").write_text("meow")
    for command in ("evaluate", "embed"):
        refused(crbench(command, "photos"), "is not a run", "where: photos", "fix: name a folder")
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["cat.txt"]


def test_no_space_left(
    crbench: Crbench,
    refused: Refused,
    monkeypatch: pytest.MonkeyPatch,
    trained_run: Path,
    tmp_path: Path,
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "somewhere.png")

    monkeypatch.setattr("os.replace", full)  # the moment at which every file of ours appears
    before = files(trained_run)
    result = crbench("evaluate", trained_run, "--quiet", "--out", "r.json")
    refused(result, "no space left", "fix: free some space")
    assert files(trained_run) == before
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]  # no half file, no litter


def test_no_space_left_where_nobody_expected_it(
    crbench: Crbench, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "somewhere.bin")

    monkeypatch.setattr("crbench.training.loop.train_run", full)
    refused(crbench("train", "cr-jepa", "x"), "no space left", "where: somewhere.bin", "fix: free")


def test_an_interruption_says_how_to_go_on(
    crbench: Crbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("crbench.training.loop.train_run", interrupted)
    result = crbench("train", "cr-jepa", "x")
    assert result.exit_code == 130
    assert "interrupted" in result.output and "--resume" in result.output


def test_a_bug_is_not_hidden(crbench: Crbench, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("crbench.training.loop.train_run", broken)
    assert isinstance(crbench("train", "cr-jepa", "x").exception, ZeroDivisionError)


def test_the_message_has_three_parts(crbench: Crbench, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise UserError("it rains", where="outside", fix="take an umbrella")

    monkeypatch.setattr("crbench.training.loop.train_run", refuse)
    result = crbench("train", "cr-jepa", "x")
    assert result.output == "error: it rains\nwhere: outside\nfix: take an umbrella\n"


def commands(group: typer.Typer, prefix: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    tree = typer.main.get_command(group)

    def walk(command: object, path: tuple[str, ...]) -> list[tuple[str, ...]]:
        inner = getattr(command, "commands", None)
        if inner is None:
            return [path]
        return [leaf for name, sub in inner.items() for leaf in walk(sub, (*path, name))]

    return walk(tree, prefix)


@pytest.mark.parametrize("words", commands(app), ids=" ".join)
def test_every_command_has_help_with_an_example(crbench: Crbench, words: tuple[str, ...]) -> None:
    result = crbench(*words, "--help")
    assert result.exit_code == 0
    assert f"Example: crbench {' '.join(words)}" in result.output
