"""Which classes a card may name, and which a stranger's file may."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from crbench.cards import MethodCard, load_method
from crbench.errors import UserError
from crbench.models import registry
from crbench.models.cr_jepa import CRJEPA


def named(cls: str) -> MethodCard:
    return load_method("band-stats").model_copy(update={"cls": cls})


@pytest.fixture
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A package beside ours with methods; two of its entry points lead somewhere."""
    (tmp_path / "stranger_methods.py").write_text(
        textwrap.dedent(
            """
            from crbench.models.baselines import BandStats

            class Louder(BandStats):
                pass

            class Nothing:
                pass
            """
        )
    )
    info = tmp_path / "stranger_methods-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger-methods\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[crbench.methods]\n"
        "louder = stranger_methods:Louder\n"
        "lost = stranger_methods:Lost\n"
        "cr-jepa = stranger_methods:Louder\n"
    )
    monkeypatch.syspath_prepend(tmp_path)


@pytest.mark.usefixtures("stranger")
def test_an_installed_entry_point_is_as_good_as_a_key_of_ours() -> None:
    assert registry.is_registered("louder")
    registry.check_class(named("louder"), "run.json")
    model = registry.build_method(named("louder"), {"a": 2, "b": 3})
    assert type(model).__name__ == "Louder"
    assert registry.method_class(named("cr-jepa")) is CRJEPA  # ours are not replaced


@pytest.mark.usefixtures("stranger")
def test_a_path_to_a_class_serves_a_users_card_but_not_a_strangers_file() -> None:
    path = "stranger_methods:Louder"
    assert registry.method_class(named(path)).__name__ == "Louder"
    assert not registry.is_registered(path)
    with pytest.raises(UserError, match="unknown method class 'stranger_methods:Louder'"):
        registry.check_class(named(path), "run.json")


@pytest.mark.usefixtures("stranger")
@pytest.mark.parametrize(
    ("cls", "words"),
    [
        ("crjepa", "did you mean 'cr-jepa'"),
        ("lost", "cannot import method class 'lost'"),
        ("no_such_package:Method", "cannot import method class"),
        (":Method", "cannot import method class"),
        ("stranger_methods:Nothing", "is no Method"),
    ],
)
def test_a_class_that_leads_nowhere_is_one_sentence(cls: str, words: str) -> None:
    with pytest.raises(UserError) as stop:
        registry.method_class(named(cls))
    assert words in str(stop.value)
    assert "method card 'band-stats'" in str(stop.value)
