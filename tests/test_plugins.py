"""Names that lead to classes: ours, those of installed packages, and those spelt out in a card."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest

from crbench.errors import UserError
from crbench.plugins import import_named, registered

GROUP = "crbench.tests"
BUILT_IN = {"ordered": "collections:OrderedDict"}


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed package with entry points; one of them has the name of one of ours."""
    (tmp_path / "stranger_plugins.py").write_text("class Louder: pass\n")
    info = tmp_path / "stranger_plugins-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger-plugins\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        f"[{GROUP}]\n"
        "louder = stranger_plugins:Louder\n"
        "lost = stranger_plugins:Lost\n"
        "ordered = stranger_plugins:Louder\n"
        "[another.group]\n"
        "elsewhere = stranger_plugins:Louder\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


def named(key: str) -> Any:
    return import_named(key, GROUP, BUILT_IN, kind="thing", where="card.toml")


@pytest.mark.usefixtures("stranger")
def test_entry_points_are_added_and_replace_nothing() -> None:
    assert registered(GROUP, BUILT_IN) == {
        "ordered": "collections:OrderedDict",
        "louder": "stranger_plugins:Louder",
        "lost": "stranger_plugins:Lost",
    }
    assert named("ordered") is OrderedDict
    assert named("louder").__name__ == "Louder"


def test_a_class_is_named_by_module_and_name() -> None:
    assert registered(GROUP, BUILT_IN) == BUILT_IN
    assert named("collections:OrderedDict") is OrderedDict
    assert named("collections:OrderedDict.fromkeys") == OrderedDict.fromkeys


def test_a_key_that_is_not_known_names_the_nearest() -> None:
    with pytest.raises(UserError, match="unknown thing 'orderd'") as caught:
        named("orderd")
    assert caught.value.where == "card.toml" and "'ordered'" in (caught.value.fix or "")


@pytest.mark.usefixtures("stranger")
@pytest.mark.parametrize(
    "key", ["lost", "no_such_module_at_all:X", "collections:NoSuchClass", "collections:", ":X"]
)
def test_what_cannot_be_imported_is_one_message(key: str) -> None:
    with pytest.raises(UserError, match=f"cannot import thing '{key}'") as caught:
        named(key)
    assert caught.value.where == "card.toml" and "install the package" in (caught.value.fix or "")
