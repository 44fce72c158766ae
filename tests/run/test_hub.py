"""Sharing runs: what is pushed is enough, what is pulled is checked and executes nothing."""

import shutil
from pathlib import Path

import pytest

from crbench.board.writers import model_card
from crbench.cards import load_method
from crbench.embedding.embedder import embed_run
from crbench.errors import UserError
from crbench.evaluation.evaluate import evaluate
from crbench.files import read_json, sha256_file, write_json
from crbench.run.folder import RunFolder
from crbench.run.hub import local_folder, pull_run, push_run, repository
from crbench.run.opened import open_run
from crbench.words import DIRECTIONS


@pytest.fixture(scope="module")
def run(trained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of its own with a record, so that other tests' files are not pushed."""
    out = tmp_path_factory.mktemp("hub") / "run"
    out.mkdir()
    for name in ("run.json", "metrics.jsonl", "weights.safetensors"):
        shutil.copy(trained_run / name, out / name)
    evaluate(out, quiet=True)
    (out / "checkpoint.pt").write_bytes(b"state")  # never shared
    return out


@pytest.fixture
def pushed(run: Path, tmp_path: Path) -> Path:
    out = tmp_path / "pushed"
    assert push_run(run, f"file://{out}", model_card(run)) == str(out)
    return out


def test_a_pulled_run_evaluates_like_the_one_that_was_pushed(
    run: Path, pushed: Path, twin_cache: Path, tmp_path: Path
) -> None:
    assert {path.name for path in pushed.iterdir()} == {
        "README.md", "card.toml", "metrics.jsonl", "record.json", "run.json",
        "weights.safetensors",
    }  # fmt: skip
    pulled = pull_run(str(pushed), tmp_path / "deep" / "pulled")
    assert str(twin_cache) not in (pulled / "run.json").read_text()  # nor anyone's folders
    before = evaluate(run, quiet=True)
    after = evaluate(pulled, cache=twin_cache, quiet=True)
    assert after.scores == before.scores
    assert after.digests["weights"] == before.digests["weights"]
    assert embed_run(open_run(pulled, cache=twin_cache), quiet=True).is_file()
    assert not [path for path in (tmp_path / "deep").iterdir() if path != pulled]
    again = push_run(pulled, str(tmp_path / "again"), model_card(pulled))
    for name in ("weights.safetensors", "run.json", "card.toml"):
        assert sha256_file(Path(again) / name) == sha256_file(pushed / name)


def test_the_shared_card_trains_the_same_model(run: Path, pushed: Path) -> None:
    info = RunFolder(run).read()
    card = load_method(str(pushed / "card.toml"), scale=info.method_card.scale)
    assert card == info.method_card and card.digest == info.method_card.digest


def test_the_model_card_says_what_the_record_says(run: Path, pushed: Path) -> None:
    text = (pushed / "README.md").read_text()
    record = read_json(run / "record.json")
    for direction in DIRECTIONS:
        value = record["scores"][direction]["f1_item@5"]["value"]
        assert f"| {100 * value:.1f} (" in text
    for piece in ("synthetic", "CC0-1.0", "leave-one-out", "S1→S2", "crbench.load", "seed 0"):
        assert piece in text
    assert str(run) not in text


@pytest.mark.parametrize("name", ["weights.safetensors", "run.json", "record.json"])
def test_a_file_that_was_cut_on_its_way_is_refused(pushed: Path, tmp_path: Path, name: str) -> None:
    data = (pushed / name).read_bytes()
    (pushed / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(UserError) as caught:
        pull_run(str(pushed), tmp_path / "pulled")
    assert name in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["pushed"]


def test_a_bit_of_the_weights_that_changed_is_refused(pushed: Path, tmp_path: Path) -> None:
    data = bytearray((pushed / "weights.safetensors").read_bytes())
    data[-9] ^= 1
    (pushed / "weights.safetensors").write_bytes(data)
    with pytest.raises(UserError, match="not those that training wrote"):
        pull_run(str(pushed), tmp_path / "pulled")


def test_nothing_but_plain_files_of_a_run_is_taken(pushed: Path, tmp_path: Path) -> None:
    """Nor the manifest, which runs that were pushed earlier have."""
    for name in ("checkpoint.pt", "manifest.json", "weights.safetensors.py"):
        (pushed / name).write_bytes(b"a pickle")
    pulled = pull_run(str(pushed), tmp_path / "pulled")
    assert {path.name for path in pulled.iterdir()} == {
        "README.md", "card.toml", "metrics.jsonl", "record.json", "run.json", "weights.safetensors",
    }  # fmt: skip


def test_a_run_that_names_code_of_another_package_is_refused(pushed: Path, tmp_path: Path) -> None:
    info = read_json(pushed / "run.json")
    info["method"]["class"] = "antigravity:Method"
    write_json(pushed / "run.json", info)
    with pytest.raises(UserError, match="antigravity"):
        pull_run(str(pushed), tmp_path / "pulled")
    assert "antigravity" not in __import__("sys").modules


def test_other_weights_under_the_same_name_are_refused(pushed: Path, tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    path = pushed / "weights.safetensors"
    with safe_open(str(path), framework="pt") as handle:
        about = handle.metadata()
    tensors = {name: value + 1 for name, value in load_file(path).items()}
    save_file(tensors, path, metadata=about)
    with pytest.raises(UserError, match="not those that training wrote"):
        pull_run(str(pushed), tmp_path / "pulled")


def test_what_is_there_is_never_written_over(run: Path, pushed: Path, tmp_path: Path) -> None:
    for call in (lambda: push_run(run, str(pushed), ""), lambda: pull_run(str(pushed), run)):
        with pytest.raises(UserError, match="there already"):
            call()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"run\.json, weights\.safetensors is missing"):
        pull_run(str(tmp_path / "empty"), tmp_path / "pulled")
    with pytest.raises(UserError, match="no such run"):
        push_run(tmp_path / "none", str(tmp_path / "out"), "")
    assert not (tmp_path / "out").exists() and not (tmp_path / "pulled").exists()


def test_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here").mkdir()
    assert repository("hf://owner/name") == repository("owner/name") == "owner/name"
    for place in ("here/name", "/a/b", "./a", "file:a/b", "a/b/c", "name", "~/a"):
        assert repository(place) is None
    assert local_folder("file:a/b") == Path("a/b") and local_folder("file:///a") == Path("/a")
    with pytest.raises(UserError, match="no repository"):
        repository("hf://name")


def test_a_hub_that_cannot_be_reached_is_one_message(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="the hub refused"):
        pull_run("hf://owner/name", tmp_path / "pulled")
    with pytest.raises(UserError, match="the hub refused"):
        push_run(run, "hf://owner/name", "")
    assert list(tmp_path.iterdir()) == []
