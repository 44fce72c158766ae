"""The one error a user sees: its parts, its exit code, and the name that was meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from crbench.errors import Collapsed, UserError, nearest, unknown


def test_a_message_has_what_where_and_fix_in_this_order() -> None:
    error = UserError("no such cache", where=Path("caches/x.h5"), fix="build it")
    assert str(error) == "no such cache\nwhere: caches/x.h5\nfix: build it"
    assert (error.what, error.where, error.fix) == ("no such cache", "caches/x.h5", "build it")


def test_what_is_not_known_is_left_out() -> None:
    assert str(UserError("no")) == "no" and UserError("no").where is None
    assert str(UserError("no", where="--seed")) == "no\nwhere: --seed"
    assert str(UserError("no", fix="do")) == "no\nfix: do"


def test_a_collapse_is_told_from_bad_input_by_its_exit_code() -> None:
    assert UserError("x").exit_code == 2 and Collapsed("x").exit_code == 3
    with pytest.raises(UserError):
        raise Collapsed("x")


def test_the_nearest_name() -> None:
    assert nearest("cr-jeppa", ["x-jepa", "cr-jepa", "rejepa"]) == "cr-jepa"
    assert nearest("zzz", ["x-jepa", "cr-jepa"]) is None
    assert nearest("a", iter(())) is None


def test_an_unknown_name_lists_the_known_ones_and_the_nearest_first() -> None:
    near = unknown("method", "cr-jeppa", {"x-jepa": 1, "cr-jepa": 2}, where="card")
    assert near.what == "unknown method 'cr-jeppa'" and near.where == "card"
    assert near.fix == "did you mean 'cr-jepa'? (known: cr-jepa, x-jepa)"
    assert unknown("scale", "zzz", ["tiny", "paper"]).fix == "known: paper, tiny"
    assert unknown("scale", "zzz", []).fix == "known: none"
