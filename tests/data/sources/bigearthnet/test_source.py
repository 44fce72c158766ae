"""The source: whole pairs by name, bands by name, and what is damaged or missing said by name."""

import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from crbench.cards import DatasetCard, load_dataset
from crbench.data.cache.build import build_cache
from crbench.data.cache.reading import cache_info
from crbench.data.sources import open_source
from crbench.data.sources.bigearthnet.members import canonical, with_members
from crbench.errors import UserError


def test_a_missing_patch_is_named_and_counted(
    card: DatasetCard,
    made: list[Any],
    data: ModuleType,
    tmp_path: Path,
    build: Any,
    check_against: Any,
) -> None:
    raw = data.write_v1(tmp_path / "raw", made)
    ids = [canonical(name) for name in sorted(patch.s2 for patch in made)]  # as in the list
    gone, cut = made[0], made[5]
    shutil.rmtree(raw / "BigEarthNet-S1-v1.0" / gone.s1)
    (raw / "BigEarthNet-v1.0" / cut.s2 / f"{cut.s2}_B8A.tif").write_bytes(b"")
    with pytest.raises(UserError, match="2 of 15 patches are missing") as caught:
        build_cache(card, tmp_path / "c.h5", source_dir=raw, quiet=True)
    assert all(canonical(patch.s2) in caught.value.what for patch in (gone, cut))
    assert "--allow-missing" in str(caught.value.fix)
    assert not (tmp_path / "c.h5").exists()
    some = with_members(card, str(tmp_path / "members.txt"), allow_missing=True)
    cache = build(some, raw, tmp_path / "c.h5")
    assert cache.ids.tolist() == [
        name for name in ids if name not in (canonical(gone.s2), canonical(cut.s2))
    ]
    check_against(cache, [patch for patch in made if patch not in (gone, cut)], data)
    assert cache_info(cache.path)["missing"] == 2
    assert "missing" in cache.card.note


def test_bands_follow_their_names(
    card: DatasetCard,
    made: list[Any],
    data: ModuleType,
    tmp_path: Path,
    build: Any,
    check_against: Any,
) -> None:
    """A card with other bands in another order gets them: VH, VV and ten of twelve."""
    ten = [name for name in card.b.bands if name not in ("B01", "B09")][::-1]
    other = card.model_copy(
        update={
            "a": card.a.model_copy(update={"bands": ["VH", "VV"]}),
            "b": card.b.model_copy(update={"bands": ten, "mean": None, "std": None}),
        }
    )
    raw = data.write_v1(tmp_path / "raw", made)
    for patch in made:  # what is not asked for may be absent
        (raw / "BigEarthNet-v1.0" / patch.s2 / f"{patch.s2}_B01.tif").unlink()
    check_against(build(other, raw, tmp_path / "c.h5"), made, data)


def test_metadata_that_are_damaged_or_others(
    card: DatasetCard, made: list[Any], data: ModuleType, tmp_path: Path
) -> None:
    raw = data.write_v1(tmp_path / "raw", made)
    s2 = raw / "BigEarthNet-v1.0" / made[3].s2 / f"{made[3].s2}_labels_metadata.json"
    s1 = raw / "BigEarthNet-S1-v1.0" / made[3].s1 / f"{made[3].s1}_labels_metadata.json"
    whole = s2.read_text()
    for text, message in (
        ("{", "not a JSON file"),
        ("[1]", "no table"),
        ('{"coordinates": {}}', "no 'labels'"),
        ('{"labels": ["Pasture"]}', "unknown label 'Pasture'"),
    ):
        s2.write_text(text)
        with pytest.raises(UserError, match=message):
            build_cache(card, tmp_path / "c.h5", source_dir=raw, quiet=True)
    s2.write_text(whole)
    s1.write_text(s1.read_text().replace(made[3].s2, made[4].s2))
    with pytest.raises(UserError, match=f"belongs to '{made[4].s2}'"):
        build_cache(card, tmp_path / "c.h5", source_dir=raw, quiet=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": (120, 100)}, "no multiple of 6"),
        ({"bands": ["B01", "B10"], "mean": None, "std": None}, "no band 'B10'"),
        ({"bands": ["VV"], "mean": None, "std": None}, "no band 'VV'"),
    ],
)
def test_cards_that_ask_for_what_is_not_there(
    change: dict[str, Any], message: str, tmp_path: Path
) -> None:
    card = load_dataset("ben-14k")
    with pytest.raises(UserError, match=message):
        open_source(card.model_copy(update={"b": card.b.model_copy(update=change)}), tmp_path)
