"""Records from strangers: their names lead nowhere, and every committed record still loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crbench.errors import UserError
from crbench.files import write_json
from crbench.records import read_record

RESULTS = Path(__file__).resolve().parents[1] / "results"
TRAINED = RESULTS / "records" / "ben-14k-twin" / "cr-jepa" / "cr-jepa-tiny-seed0.json"


def changed(field: str, value: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(TRAINED.read_text(encoding="utf-8"))
    *tables, last = field.split(".")
    table = data
    for name in tables:
        table = table[name]
    table[last] = value
    if last == "name" and "card" in table:
        table["card"]["name"] = value
    return data


@pytest.mark.parametrize("name", ["../../../x", "/x", "--help", "", ".x", "a b", "a\n", "a/b", "ü"])
@pytest.mark.parametrize(
    "field", ["run", "method.name", "method.digest", "dataset.name", "protocol.name"]
)
def test_a_name_that_is_a_path_or_an_option_is_refused(
    tmp_path: Path, field: str, name: str
) -> None:
    write_json(tmp_path / "r.json", changed(field, name))
    with pytest.raises(UserError, match="is no plain name") as caught:
        read_record(tmp_path / "r.json")
    assert field in caught.value.what and caught.value.where == str(tmp_path / "r.json")


@pytest.mark.parametrize("table", ["method", "dataset"])
def test_a_name_that_is_not_its_cards_is_refused(tmp_path: Path, table: str) -> None:
    data = json.loads(TRAINED.read_text(encoding="utf-8"))
    data[table]["name"] = "other"
    write_json(tmp_path / "r.json", data)
    with pytest.raises(UserError, match="is not the name in its card"):
        read_record(tmp_path / "r.json")


def test_foreign_embeddings_go_by_any_name(tmp_path: Path) -> None:
    data = changed("method.name", "timm:hf-hub/ünet 2")
    data["method"] |= {"kind": "external", "card": {"file": "x.npz"}}
    data["run"] = "timm:hf-hub/ünet 2-0123"
    write_json(tmp_path / "r.json", data)
    assert read_record(tmp_path / "r.json").method.name == "timm:hf-hub/ünet 2"


def test_every_committed_record_loads() -> None:
    paths = list(RESULTS.rglob("records/**/*.json"))
    assert len(paths) > 100
    for path in paths:
        read_record(path)
