"""Which patches are taken: the list that ships, other lists, and what the command says."""

import csv
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from crbench.cards import DatasetCard, load_dataset
from crbench.cli import app
from crbench.data.cache.reading import open_cache
from crbench.data.sources import open_source
from crbench.data.sources.bigearthnet.members import (
    S1_NAME,
    S2_NAME,
    canonical,
    ground,
    listed,
    position,
    shipped,
    splits,
    with_members,
)
from crbench.errors import UserError

SMALL = ("--set", "a.size=[12, 12]", "--set", "b.size=[12, 12]")


def crbench(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    return result.exit_code, result.output


def test_the_members_that_ship() -> None:
    known = shipped()
    assert len(known.ids) == len(set(known.ids)) == 14832
    counts = {name: list(known.split.values()).count(name) for name in ("train", "val", "test")}
    assert counts == {"train": 7761, "val": 3508, "test": 3563}
    assert known.ids == sorted(known.ids)
    assert len(set(known.s1.values())) == 14832
    for s2, s1 in known.s1.items():
        assert S2_NAME.fullmatch(s2) and S1_NAME.fullmatch(s1)
        assert canonical(s2) == s2
        assert position(s2) == position(s1)
        assert re.search(r"_201[78]0[678]\d\dT", s2), "not June to August"
        assert re.fullmatch(r"34T[A-Z]{2}/\d{8}", ground(s2, s1)), "not Serbia"


def test_the_members_are_those_of_the_rebuilt_lists(real_data: Callable[[str], Path]) -> None:
    folder = real_data("ben14k_splits")
    known = shipped()
    with open(folder / "ben14k.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert known.s1 == {row["s2_name"]: row["s1_name"] for row in rows}
    assert known.split == {row["s2_name"]: row["split"] for row in rows}
    for name in ("train", "val", "test"):
        ids = (folder / f"{name}.csv").read_text().split()
        assert ids == [key for key in known.ids if known.split[key] == name]


def test_names_with_and_without_the_leading_zero() -> None:
    assert canonical("S2B_MSIL2A_20180204T94161_57_38") == "S2B_MSIL2A_20180204T094161_57_38"
    assert canonical("S2A_MSIL2A_20170613T101031_87_48") == "S2A_MSIL2A_20170613T101031_87_48"
    s1 = "S1A_IW_GRDH_1SDV_20180204T043253_35VPK_57_38"
    assert canonical(s1) == s1
    assert ground("S2B_MSIL2A_20180204T094161_57_38", s1) == "35VPK/20180204"


def test_a_list_of_members(tmp_path: Path) -> None:
    one, two = shipped().ids[:2]
    path = tmp_path / "list"
    path.write_text(f"# some\n{two}\n\nS2B_MSIL2A_20180204T94161_57_38,val\n{one},test\n")
    found = listed(path)
    other = "S2B_MSIL2A_20180204T094161_57_38"
    assert found.ids == [two, other, one]
    assert [found.split[name] for name in found.ids] == [shipped().split[two], "val", "test"]
    assert other not in found.s1 and found.s1[one] == shipped().s1[one]
    path.write_text(f"country,s2_name,split,s1_name\nx,{other},train,S1X\ny,{one},,\n")
    found = listed(path)
    assert (found.ids, found.split[other], found.s1[other]) == ([other, one], "train", "S1X")
    assert found.split[one] == shipped().split[one]
    path.write_text(f'"split" ,"s2_name" \n# some\nval,{two}\n')
    assert (listed(path).ids, listed(path).split[two]) == ([two], "val")
    path.write_text(f"# s2_name,split\n{two}\n")  # a comment is no header
    assert listed(path).ids == [two]
    for text, message in (
        (f"{one}\nfoo\n", "line 2: 'foo' is no"),
        (f"{one}\n{one}\n", "line 2: .* comes twice"),
        (f"s2_name\n{one}\nfoo\n", "line 3: 'foo' is no"),
        (f"my_s2_name,split\n{one},val\n", "line 1: 'my_s2_name' is no"),
    ):
        path.write_text(text)
        with pytest.raises(UserError, match=message):
            listed(path)
    with pytest.raises(UserError, match="cannot read the list"):
        listed(tmp_path / "nothing")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot read the list"):
        listed(path)


def test_splits_of_patches_in_no_list_depend_on_their_names_alone() -> None:
    ids = [f"S2A_MSIL2A_20170613T101031_{k}_48" for k in range(80)]
    first = dict(zip(ids, splits(ids, {}, 0), strict=True))
    assert dict(zip(ids[::-1], splits(ids[::-1], {}, 0), strict=True)) == first
    assert sorted(first.values()) == ["test"] * 20 + ["train"] * 40 + ["val"] * 20
    assert splits(ids, {}, 1) != splits(ids, {}, 0)
    assert splits(ids[:1], {ids[0]: "val"}, 0) == ["val"]


def test_the_choice_is_part_of_the_card(card: DatasetCard, tmp_path: Path) -> None:
    plain = load_dataset("ben-14k")
    assert with_members(plain) is plain
    assert with_members(plain, "all").digest != plain.digest
    assert with_members(plain, "all").note == "other members: all"
    assert with_members(plain, allow_missing=True).note == "members may be missing"
    (tmp_path / "members.txt").write_text(f"{shipped().ids[0]}\n")
    with pytest.raises(UserError, match="the list of members has changed"):
        open_source(card, tmp_path)
    with pytest.raises(UserError, match="means nothing to this dataset"):
        with_members(load_dataset("landsat7-pan-ms"), "all")


def test_the_command(
    made: list[Any], data: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CRBENCH_CACHES", str(tmp_path / "caches"))
    monkeypatch.setenv("COLUMNS", "200")
    code, text = crbench("cache", "build", "ben-14k")
    assert code == 2
    assert "https://bigearth.net" in text
    assert "crbench cache build ben-14k --source DIR" in text
    raw = data.write_archives(tmp_path / "raw", made)
    build = ("cache", "build", "ben-14k", "--source", raw, *SMALL)
    code, text = crbench(*build)
    assert code == 2
    assert "14,817 of 14,832 patches are missing" in text
    code, text = crbench(*build, "--allow-missing")
    assert code == 0, text
    assert "layout: BigEarthNet v1, archives" in text
    assert "15 of 14,832 pairs of BEN-14K, 14,817 missing" in text
    assert "missing   14,817" in crbench("cache", "info", "ben-14k")[1]
    assert "sound" in crbench("cache", "verify", "ben-14k", "--quiet")[1]
    cache = open_cache(tmp_path / "caches" / "ben-14k.h5")
    assert np.unique(cache.split, return_counts=True)[1].tolist() == [5, 5, 5]
    code, text = crbench(*build)
    assert code == 2
    assert "made with another card" in text
    code, text = crbench("cache", "build", "eurosat-wald", "--members", "all")
    assert code == 2
    assert "means nothing to this dataset" in text
