"""A set of one's own from the command line, its table of labels, and the card EuroSAT S1/S2."""

import json
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from crbench.cards import DatasetCard, load_dataset
from crbench.cli import app
from crbench.data.cache.build import build_cache
from crbench.data.cache.reading import open_cache
from crbench.data.cache.verify import verify_cache
from crbench.data.sources import Source, open_source
from crbench.errors import UserError

DOCS = Path(__file__).resolve().parents[4] / "docs"
CLASSES = ("field", "forest", "lake")


def crbench(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def made(data: ModuleType) -> list[Any]:
    return list(data.pairs(4, (2, 64, 64), (3, 128, 128), ("float32", "uint8"), CLASSES))


@pytest.fixture
def card(tmp_path: Path) -> Path:
    """The card of docs/own-data.md, without the line that says where images come from."""
    path = tmp_path / "my-set.toml"
    text = (DOCS / "own-data.toml").read_text()
    path.write_text(text.replace('kind = "folders"\n', ""))
    return path


@pytest.mark.parametrize("form", ["folders", "hdf5"])
def test_a_card_and_pairs_are_enough(
    data: ModuleType,
    made: list[Any],
    card: Path,
    tmp_path: Path,
    form: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CRBENCH_CACHES", str(tmp_path / "caches"))
    if form == "folders":
        folders, endings = {"a": "sar", "b": "b"}, {"a": ".tif", "b": ".png"}
        raw = data.class_folders(tmp_path / "raw", made, folders, endings)
    else:
        import h5py

        raw = tmp_path / "raw.h5"
        with h5py.File(raw, "w") as file:
            for which in ("a", "b"):
                file[f"{which}/images"] = np.stack([pair.pixels[which] for pair in made])
            file["labels"] = [CLASSES.index(pair.kind) for pair in made]
            file["ids"] = [pair.stem for pair in made]
    refused = crbench("cache", "build", card, "--source", raw)
    assert refused.exit_code == 2
    assert "--from folders or hdf5" in refused.output
    done = crbench("cache", "build", card, "--from", form, "--source", raw)
    assert done.exit_code == 0, done.output
    assert "layout: " in done.output and "split by hash of the id" in done.output
    cache = open_cache(tmp_path / "caches" / "my-set.h5", load_dataset(str(card)))
    for k, name in enumerate(cache.ids.tolist()):
        pair = next(pair for pair in made if pair.stem == name)
        for which in ("a", "b"):
            np.testing.assert_array_equal(cache.images(which)[k], pair.pixels[which])
        assert cache.labels is not None and CLASSES[cache.labels[k]] == pair.kind
    assert Counter(cache.split.tolist()) == {"train": 9, "query": 3}
    assert crbench("cache", "verify", cache.path, "--quiet").exit_code == 0
    info = json.loads(crbench("cache", "info", card, "--json").output)
    assert info["pairs"] == 12


def test_the_documented_card_is_whole() -> None:
    card = load_dataset(str(DOCS / "own-data.toml"))
    assert card.source["kind"] == "folders"


def test_a_cache_of_another_card_stays(
    data: ModuleType, made: list[Any], card: Path, tmp_path: Path
) -> None:
    folders, endings = {"a": "a", "b": "b"}, {"a": ".npy", "b": ".jpg"}
    raw = data.class_folders(tmp_path / "raw", made, folders, endings)
    build = ("cache", "build", card, "--from", "folders", "--source", raw, "--quiet")
    out = tmp_path / "c.h5"
    assert crbench(*build, "--out", out).exit_code == 0
    before = out.read_bytes()
    again = crbench(*build, "--out", out, "--set", "source.split.seed=1")
    assert again.exit_code == 2
    assert "'my-set' too, with another source.split" in again.output
    card.write_text(card.read_text().replace('name = "my-set"', 'name = "other"', 1))
    other = crbench(*build, "--out", out)
    assert other.exit_code == 2
    assert "another card ('my-set'), 12 pairs" in other.output
    assert "--out takes another place" in other.output
    assert out.read_bytes() == before


def test_unknown_forms_and_options_that_mean_nothing(card: Path, tmp_path: Path) -> None:
    wrong = crbench("cache", "build", card, "--from", "folder", "--source", tmp_path)
    assert wrong.exit_code == 2 and "did you mean 'folders'?" in wrong.output
    idle = crbench("cache", "build", card, "--from", "hdf5", "--allow-missing")
    assert idle.exit_code == 2 and "--allow-missing means nothing to this dataset" in idle.output
    idle = crbench("cache", "build", card, "--from", "folders", "--members", "all")
    assert idle.exit_code == 2 and "--members means nothing to this dataset" in idle.output


def labelled(card: Path, kind: str) -> DatasetCard:
    text = (DOCS / "own-data.toml").read_text()
    card.write_text(text.replace('kind = "single"', f'kind = "{kind}"'))
    return load_dataset(str(card))


TABLES = {
    "single": lambda p, k: f"{p.stem}.npy,{p.kind},{'train' if k % 3 else 'query'}",
    "multi": lambda p, k: f"{p.stem},{p.kind}|lake,{'train' if k % 3 else 'query'}",
    "none": lambda p, k: f"{p.stem},,{'train' if k % 3 else 'query'}",
}


@pytest.mark.parametrize("kind", list(TABLES))
def test_tables_of_labels_and_splits(
    data: ModuleType, made: list[Any], card: Path, tmp_path: Path, kind: str
) -> None:
    raw = data.flat(tmp_path / "raw", made, {"a": ".npy", "b": ".npz"})
    lines = [TABLES[kind](pair, k) for k, pair in enumerate(made[1:])]
    (raw / "labels.csv").write_text("id, label, split\n" + "\n".join(lines) + "\n")
    mine = labelled(card, kind)
    source = open_source(mine, raw)
    assert isinstance(source, Source)
    assert sorted(source.ids) == sorted(pair.stem for pair in made[1:])
    block = source.read(0, 11)
    for k, name in enumerate(source.ids):
        row = next(r for r, pair in enumerate(made[1:]) if pair.stem == name)
        assert source.split[k] == ("train" if row % 3 else "query")
        number = CLASSES.index(made[1:][row].kind)
        np.testing.assert_array_equal(block.a[k], made[1:][row].pixels["a"])
        if kind == "single":
            assert block.labels is not None and block.labels[k] == number
        elif kind == "multi":
            assert block.labels is not None
            assert set(np.flatnonzero(block.labels[k])) == {number, 2}
    assert (block.labels is None) == (kind == "none")
    assert "split from the table" in source.notes
    assert any("2 files are in no list" in note for note in source.notes)


def test_an_id_that_no_file_has_is_named(
    data: ModuleType, made: list[Any], card: Path, tmp_path: Path
) -> None:
    raw = data.flat(tmp_path / "raw", made, {"a": ".npy", "b": ".npz"})
    (raw / "labels.csv").write_text("id,label\nfield_1,0\nnobody,1\n")
    with pytest.raises(UserError, match=r"1 pairs are not whole: 'nobody' \(no a and no b\)"):
        open_source(labelled(card, "single"), raw)


def test_eurosat_s1s2_as_both_archives_unpack(data: ModuleType, tmp_path: Path) -> None:
    made = data.pairs(10, (2, 64, 64), (13, 64, 64), ("float32", "uint16"))
    folders = {
        "a": "EuroSAT-SAR",
        "b": "EuroSATallBands/ds/images/remote_sensing/otherDatasets/sentinel_2/tif",
    }
    raw = data.class_folders(tmp_path / "raw", made, folders, {"a": ".tif", "b": ".tif"})
    card = load_dataset("eurosat-s1s2")
    cache = open_cache(build_cache(card, tmp_path / "c.h5", source_dir=raw, quiet=True), card)
    assert verify_cache(cache.path, quiet=True)[0] == []
    for pair in made[::7]:
        k = cache.ids.tolist().index(pair.stem)
        for which in ("a", "b"):
            np.testing.assert_array_equal(cache.images(which)[k], pair.pixels[which])
    counts = {name: len(cache.rows([name])) for name in ("train", "val", "query", "gallery")}
    assert counts == {"train": 50, "val": 10, "query": 10, "gallery": 30}
    assert cache.card.b.bands[-1] == "B8A"
