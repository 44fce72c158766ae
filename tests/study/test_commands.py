"""From a record to its commands: every field that changes a score has its option, or is refused."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import typer

from crbench.cards import load_method
from crbench.cli import app
from crbench.errors import UserError
from crbench.records import Record, read_record
from crbench.study.commands import command_lines, record_steps

ROOT = Path(__file__).resolve().parents[2]
RECORDS = ROOT / "results" / "records"
RUN = "runs/again/ben-14k-twin/cr-jepa-tiny-seed0-7616b1d5"
BUILD = "crbench cache build ben-14k-twin"
TRAIN = "crbench train cr-jepa ben-14k-twin --scale tiny --seed 0"
CPU = "--device cpu --threads 1"
SCORE = f"crbench evaluate {RUN} --protocol leave-one-out"
LINES = [BUILD, f"{TRAIN} {CPU} --out {RUN}", f"{SCORE} --device cpu"]
GPU = "NVIDIA H100 80GB HBM3"


def committed(changes: Mapping[str, Any] | None = None) -> Record:
    """The first trained record of the board, with some fields (``a.b``) changed."""
    path = RECORDS / "ben-14k-twin" / "cr-jepa" / "cr-jepa-tiny-seed0.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    for field, value in (changes or {}).items():
        *tables, last = field.split("/")
        table = data
        for name in tables:
            table = table[name]
        table[last] = value
    return Record.model_validate(data)


# (command, option): a change of the record's fields and what it makes of the commands (a list), a
# refusal (text that names the field), or why the option changes no score (text)
RELATED: dict[tuple[str, str], tuple[dict[str, Any], list[str] | str] | str] = {
    ("train", "method"): ({"method/name": "x.toml", "method/card/name": "x.toml"}, "method.card"),
    ("train", "dataset"): ({"dataset/name": "x", "dataset/card/name": "x"}, "dataset.card"),
    ("train", "--scale"): ({"method/scale": "huge", "method/card/scale": "huge"}, "method.card"),
    ("train", "--set"): (
        {"method/card/model/mask_ratio": 0.25},
        [BUILD, f"{TRAIN} --set model.mask_ratio=0.25 {CPU} --out {RUN}", LINES[2]],
    ),
    ("train", "--epochs"): (
        {"method/card/train/epochs": 3},
        [BUILD, f"{TRAIN} --set train.epochs=3 {CPU} --out {RUN}", LINES[2]],
    ),
    ("train", "--seed"): (
        {"training/seed": 7},
        [BUILD, LINES[1].replace("--seed 0", "--seed 7"), LINES[2]],
    ),
    ("train", "--device"): (
        {"training/device": GPU, "training/precision": "bf16"},
        [BUILD, f"{TRAIN} --device cuda --out {RUN}", f"{SCORE} --device cuda"],
    ),
    ("train", "--threads"): (
        {"training/threads": 2},
        [BUILD, LINES[1].replace("--threads 1", "--threads 2"), LINES[2]],
    ),
    ("train", "--bands"): (
        {"modalities/b/bands": ["B04", "B03"]},
        [BUILD, f"{TRAIN} --bands b=B04,B03 {CPU} --out {RUN}", LINES[2]],
    ),
    ("train", "--eval-every"): (
        {"training/checkpoint": "best map on val, epoch 6"},
        [
            BUILD,
            f"{TRAIN} {CPU} --eval-every 6 --keep-best map --out {RUN}",
            f"{SCORE} --weights best --device cpu",
        ],
    ),
    ("train", "--keep-best"): ({"training/checkpoint": "middle"}, "training.checkpoint"),
    ("train", "--out"): "the folder of the run",
    ("train", "--cache"): "the record's cache digest is held against the new one",
    ("train", "--loading"): "the same pixels from another place",
    ("train", "--resume"): "a run that goes on is the same run",
    ("train", "--keep-last"): "older checkpoints, which nothing scores",
    ("train", "--stop-on-collapse"): "a run that it ends has no record",
    ("train", "--track"): "a log",
    ("train", "--quiet"): "progress",
    ("embed", "run"): "the folder of the run",
    ("embed", "--images"): "embeddings of other images have no record",
    ("embed", "--modality"): "goes with --images",
    ("embed", "--encoder"): ({"method/kind": "external"}, "method.kind"),
    ("embed", "--random-weights"): "goes with --encoder",
    ("embed", "--dataset"): "goes with --encoder",
    ("embed", "--seed"): "goes with --encoder",
    ("embed", "--out"): "a place",
    ("embed", "--cache"): "the cache of the run",
    ("embed", "--weights"): (
        {"training/checkpoint": "best map on val, epoch 2", "devices": {"embed": GPU}},
        [
            BUILD,
            f"{TRAIN} {CPU} --eval-every 2 --keep-best map --out {RUN}",
            f"crbench embed {RUN} --weights best --device cuda",
            f"{SCORE} --weights best --device cpu",
        ],
    ),
    ("embed", "--device"): (
        {"devices": {"embed": GPU, "score": "cpu"}},
        [*LINES[:2], f"crbench embed {RUN} --device cuda", LINES[2]],
    ),
    ("embed", "--quiet"): "progress",
    ("evaluate", "paths"): "the folder of the run",
    ("evaluate", "--dataset"): ({"method/kind": "external"}, "method.kind"),
    ("evaluate", "--name"): ({"training": None}, "method.kind"),
    ("evaluate", "--compare"): "a comparison has no record",
    ("evaluate", "--protocol"): (
        {"protocol/name": "csmae", "protocol/query": ["val"], "protocol/gallery": ["test"]},
        [*LINES[:2], f"crbench evaluate {RUN} --protocol csmae --device cpu"],
    ),
    ("evaluate", "--cache"): "the cache of the run",
    ("evaluate", "--out"): "a place",
    ("evaluate", "--device"): (
        {"devices": {"embed": GPU, "score": GPU}},
        [*LINES[:2], f"{SCORE} --device cuda"],
    ),
    ("evaluate", "--grid"): "a picture",
    ("evaluate", "--on"): "two sets in one record: tests/evaluation/test_on.py",
    ("evaluate", "--approximate"): (
        {
            "approximate": {"kind": "hnsw", "parameters": {}, "recall": {}, "sample": 9},
            "devices": {"embed": "cpu", "score": "FAISS, cpu"},
        },
        [*LINES[:2], f"{LINES[2]} --approximate hnsw"],
    ),
    ("evaluate", "--weights"): (
        {"training/checkpoint": "best p@5 on val, epoch 12"},
        [
            BUILD,
            f"{TRAIN} {CPU} --eval-every 12 --keep-best p@5 --out {RUN}",
            f"{SCORE} --weights best --device cpu",
        ],
    ),
    ("evaluate", "--probe"): ({"probe": {}}, [*LINES[:2], f"{LINES[2]} --probe"]),
    ("evaluate", "--json"): "how it is printed",
    ("evaluate", "--quiet"): "progress",
}


def options() -> set[tuple[str, str]]:
    """Every argument and option of the commands that make a record, by its long name."""
    tree: Any = typer.main.get_command(app)
    return {
        (command, max(parameter.opts, key=len) if parameter.opts[0][0] == "-" else parameter.name)
        for command in ("train", "embed", "evaluate")
        for parameter in tree.commands[command].params
        if parameter.name != "help"
    }


def test_no_option_is_forgotten() -> None:
    assert options() == set(RELATED)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [value for value in RELATED.values() if not isinstance(value, str)],
    ids=["-".join(key) for key, value in RELATED.items() if not isinstance(value, str)],
)
def test_a_field_leads_to_its_option_or_is_named(
    changes: dict[str, Any], expected: list[str] | str
) -> None:
    record = committed(changes)
    if isinstance(expected, str):
        assert command_lines(record) is None
        with pytest.raises(UserError, match=f"leads to this record: {expected}"):
            record_steps(record)
        return
    assert command_lines(record) == expected


def test_the_commands_of_the_board() -> None:
    assert command_lines(committed()) == LINES
    real = read_record(RECORDS / "landsat7-pan-ms" / "random" / "random-tiny-seed0.json")
    assert command_lines(real) == [
        "crbench cache build landsat7-pan-ms --source DIR",
        "crbench train random landsat7-pan-ms --scale tiny --seed 0 --device cpu --threads 1 "
        f"--out runs/again/landsat7-pan-ms/random-tiny-seed0-{real.method.digest[:8]}",
        "crbench evaluate runs/again/landsat7-pan-ms/"
        f"random-tiny-seed0-{real.method.digest[:8]} --protocol split --device cpu",
    ]


def test_another_source_is_another_cache_beside_the_usual_one() -> None:
    build, train, evaluate = record_steps(committed({"dataset/card/source/splits/train": 96}))
    place = build[-1]
    assert build == [*BUILD.split(), "--set", "source.splits.train=96", "--out", place]
    assert place.startswith("runs/again/ben-14k-twin/cache-") and place.endswith(".h5")
    assert train[train.index("--cache") + 1] == place
    assert shlex.join(evaluate) == LINES[2]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"training/finished": False}, "training.finished"),
        ({"training/checkpoint": "best map on val, epoch 0"}, "training.checkpoint"),
        ({"training/precision": "bf16"}, "training.precision"),
        ({"training/train_splits": ["train", "val"]}, "training.train_splits"),
        ({"dataset/card/normalise": "published"}, "dataset.card.normalise"),
        ({"dataset/card/source/kind": "elsewhere:Source"}, "dataset.card"),
        ({"protocol/query": ["val"]}, "protocol"),
        ({"protocol/ties": "by id"}, "protocol.ties"),
        ({"resamples": 2000}, "resamples"),
        ({"modalities/b/bands": ["B04,B03"]}, "modalities.b.bands"),
        ({"modalities/b/bands": ["B99"]}, "modalities"),
        ({"method/card/class": "os:system"}, "method.card"),
        ({"method/card/model/never": 1}, "method.card"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_no_option_leads_to_is_named(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(UserError, match=f"leads to this record: {field}:"):
        record_steps(committed(changes))


def test_what_evaluate_writes_today_has_commands(trained_run: Path, tmp_path: Path) -> None:
    """The fields that have no option hold what they are compared with."""
    from crbench.evaluation.evaluate import evaluate

    record = evaluate(trained_run, out=tmp_path / "r.json", quiet=True)
    build, train, _ = record_steps(record)
    assert "source.splits.train=96" in build and "train.epochs=2" in train


def test_a_key_that_came_later_is_set_back_where_the_shipped_card_has_another_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An old record has no word of the key; the commands give what held then."""
    text = (ROOT / "methods" / "cr-jepa.toml").read_text(encoding="utf-8")
    assert "train" in " ".join(LINES) and "head_init" not in " ".join(command_lines(committed()))
    shutil.copytree(ROOT / "datasets", tmp_path / "datasets")
    shutil.copytree(ROOT / "methods", tmp_path / "methods")
    changed = text.replace('head_init = "small"', 'head_init = "unit"')
    assert changed != text
    (tmp_path / "methods" / "cr-jepa.toml").write_text(changed, encoding="utf-8")
    monkeypatch.setattr("crbench.cards.PACKAGE", tmp_path / "package")
    train = record_steps(committed())[1]
    assert train[train.index("--set") + 1] == 'model.head_init="small"'


def test_a_registered_class_is_taken_and_no_other(
    make_record: Callable[..., Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    card = load_method("cr-jepa", scale="tiny").to_dict()
    record = make_record()
    for name, taken in (("x-jepa", True), ("antigravity:Method", False)):
        changed = card | {"class": name}
        entry = record.method.model_copy(update={"card": changed})
        lines = command_lines(record.model_copy(update={"method": entry}))
        assert (lines is not None) == taken
    assert "antigravity" not in sys.modules


def test_a_module_that_lies_in_the_working_directory_does_not_run(tmp_path: Path) -> None:
    from crbench.study.launch import own_process

    for name in ("numpy", "typer", "crbench"):
        (tmp_path / f"{name}.py").write_text("open('ran', 'w')\n")
    own = tmp_path / "own"
    own.mkdir()
    (own / "mine.py").write_text("print('found')\n")
    environment = {"PYTHONPATH": f"{ROOT}:{own}", "PATH": ""}
    for command in (own_process("crbench", "list", "methods"), own_process("mine")):
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout == "found\n"
    assert not (tmp_path / "ran").exists()
