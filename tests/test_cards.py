"""Cards resolve as they say, and every mistake in one is a sentence that names the fix."""

from pathlib import Path

import pytest

from crbench import cards
from crbench.errors import UserError

CARD = """
name = "mine"
title = "Mine"
class = "cr-jepa"
kind = "method"
paper = "none"
summary = "a card for a test"
[model]
width = 64
depth = 4
[loss]
temperature = 0.1
[train]
epochs = 2
batch_size = 8
lr_start = 1e-4
lr = 1e-3
lr_end = 1e-6
warmup_epochs = 1
weight_decay = 0.04
weight_decay_end = 0.04
clip = 1.0
[scale.tiny.model]
width = 16
"""


def card(tmp_path: Path, text: str = CARD) -> str:
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", cards.names("methods"))
def test_every_method_card_that_ships_resolves_at_both_scales(name: str) -> None:
    assert cards.load_method(name).name == name
    assert cards.load_method(name, scale="tiny").scale == "tiny"


@pytest.mark.parametrize("name", cards.names("datasets"))
def test_every_dataset_card_that_ships_resolves(name: str) -> None:
    assert cards.load_dataset(name).name == name


def test_overlays_and_overrides_apply_in_order(tmp_path: Path) -> None:
    path = card(tmp_path)
    assert cards.load_method(path).model["width"] == 64
    assert cards.load_method(path, scale="tiny").model == {"width": 16, "depth": 4}
    changed = cards.load_method(path, scale="tiny", overrides=["model.width=32", "train.lr=0.5"])
    assert changed.model["width"] == 32
    assert changed.train.lr == 0.5


def test_extends_lays_a_card_over_its_base(tmp_path: Path) -> None:
    text = 'extends = "cr-jepa"\nname = "variant"\n[train]\nepochs = 3\n'
    variant = cards.load_method(card(tmp_path, text))
    base = cards.load_method("cr-jepa")
    assert variant.train.epochs == 3
    assert variant.model == base.model


def test_the_digest_follows_content_alone(tmp_path: Path) -> None:
    path = card(tmp_path)
    assert cards.load_method(path).digest == cards.load_method(path).digest
    other = cards.load_method(path, overrides=["loss.temperature=0.2"])
    assert other.digest != cards.load_method(path).digest


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("model.widht=3", "model.width"),
        ("train.epoch=3", "train.epochs"),
        ("modle.width=3", "model.width"),
        ("width", "key=value"),
        ("train.epochs=-1", "train.epochs"),
        ("train.clip='often'", "train.clip"),
    ],
)
def test_a_wrong_override_names_what_was_meant(tmp_path: Path, override: str, named: str) -> None:
    with pytest.raises(UserError) as caught:
        cards.load_method(card(tmp_path), overrides=[override])
    assert named in str(caught.value)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (CARD + "[train]\n", "not a TOML card"),
        (CARD.replace("epochs = 2", "epoch = 2"), "train.epoch"),
        (CARD.replace('title = "Mine"', 'titel = "Mine"'), "titel"),
        ('extends = "random"\nname = "x"\n', "extends another card"),
    ],
)
def test_a_wrong_card_is_refused_by_key(tmp_path: Path, text: str, named: str) -> None:
    path = card(tmp_path, text)
    with pytest.raises(UserError) as caught:
        cards.load_method(path)
    assert named in str(caught.value)
    assert path in str(caught.value.where)


def test_unknown_names_come_with_the_nearest() -> None:
    with pytest.raises(UserError, match="cr-jpea") as caught:
        cards.load_method("cr-jpea")
    assert "did you mean 'cr-jepa'" in str(caught.value)
    with pytest.raises(UserError) as caught:
        cards.load_method("cr-jepa", scale="tinny")
    assert "tiny" in str(caught.value)


def test_keys_that_came_later_are_written_only_where_they_are_set(tmp_path: Path) -> None:
    path = card(tmp_path)
    old = cards.load_method(path)
    assert "accumulate" not in old.to_dict()["train"]
    wider = tmp_path / "wider.toml"
    wider.write_text(CARD.replace("clip = 1.0", "clip = 1.0\naccumulate = 1\ncompile = false"))
    assert cards.load_method(str(wider)).digest == old.digest
    wider.write_text(CARD.replace("clip = 1.0", "clip = 1.0\naccumulate = 2\ncompile = true"))
    new = cards.load_method(str(wider))
    assert new.to_dict()["train"].items() >= {"accumulate": 2, "compile": True}.items()
    assert new.digest != old.digest
    assert cards.parse(cards.MethodCard, new.to_dict(), where="there and back") == new

    text = CARD.replace("depth = 4", "depth = 4\nheads = 2") + "[later]\n'model.heads' = 2\n"
    wider.write_text(text)
    assert cards.load_method(str(wider)).digest == old.digest
    more = cards.load_method(str(wider), overrides=["model.heads=3"])
    assert more.model["heads"] == 3 and more.digest != old.digest

    plain = cards.load_dataset("ben-14k")
    assert "use" not in plain.to_dict()["a"]
    chosen = plain.with_bands(["a=VH"])
    assert chosen.to_dict()["a"]["use"] == ["VH"]
    assert chosen.digest != plain.digest
    assert chosen.content == plain.content  # the same cache serves both
    assert "exclude" not in plain.to_dict()["protocols"][plain.protocol]
