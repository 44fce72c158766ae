"""The registry of sources: ours, those of installed packages, and nothing else that a card says."""

from pathlib import Path

import pytest

from crbench.cards import DatasetCard, load_dataset, names
from crbench.data.sources import open_source, source_kinds, with_kind
from crbench.errors import UserError


def kind_of(kind: str | None) -> DatasetCard:
    card = load_dataset("ben-14k-twin")
    source = {} if kind is None else {**card.source, "kind": kind}
    return card.model_copy(update={"source": source})


def test_every_shipped_card_names_a_source() -> None:
    for name in names("datasets"):
        assert load_dataset(name).source["kind"] in source_kinds()


def test_a_source_of_an_installed_package_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As pip leaves a package: a module, and a folder that names its entry points."""
    (tmp_path / "scenes_reader.py").write_text(
        "from crbench.data.sources import Source\n"
        "def open_scenes(card, source_dir):\n"
        "    return Source(['p0'], ['train'], None, f'scenes of {card.name}', '1')\n"
    )
    installed = tmp_path / "scenes_reader-1.0.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: scenes-reader\nVersion: 1\n")
    (installed / "entry_points.txt").write_text(
        "[crbench.sources]\nstrips = scenes_reader:open_scenes\nhdf5 = scenes_reader:open_scenes\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    source = open_source(kind_of("strips"))
    assert source.description == "scenes of ben-14k-twin"  # type: ignore[union-attr]
    assert source_kinds()["hdf5"].startswith("crbench."), "a package took the place of ours"


@pytest.mark.parametrize("kind", ["twins", "os:system", "strips"])
def test_a_card_names_no_code_that_is_not_installed(kind: str) -> None:
    with pytest.raises(UserError, match=f"'{kind}'"):
        open_source(kind_of(kind))


def test_a_form_of_data_leaves_the_keys_of_another_behind() -> None:
    card = load_dataset("cbrsir-vs")
    other = with_kind(card, "hdf5")
    assert other.source == {"kind": "hdf5", "split": card.source["split"]}
    with pytest.raises(UserError, match="form of data"):
        with_kind(card, "twin")
    with pytest.raises(UserError, match="nothing of where the images come from") as caught:
        open_source(kind_of(None))
    assert "--from folders or hdf5 or torchgeo" in str(caught.value.fix)
