"""The house's order: import floors, file sizes, a light command line, no traces of a machine."""

from __future__ import annotations

import json
import re
import resource
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from house import FRONT, GROUND, STAGES, imports, sources

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "crbench"
FLOORS = dict.fromkeys(GROUND, 0) | {name: number for number, name in enumerate(STAGES, 1)}
HEAVY = ("torch", "h5py", "pandas", "numpy")
SOURCES = sources(PACKAGE)


def module(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def floor(name: str) -> int | None:
    parts = name.split(".")
    return FLOORS.get(parts[1]) if parts[0] == "crbench" and len(parts) > 1 else None


def test_contributing_shows_the_stages_in_their_order() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`?\w+`?) \| (.+?) \|", text, flags=re.MULTILINE)
    shown = dict(row for row in rows if row[0] != "stage")
    assert re.findall(r"\w+", shown.pop("ground")) == list(GROUND)
    assert [name.strip("`") for name in shown] == list(STAGES)


def test_no_circles() -> None:
    known = {module(path): path for path in SOURCES}
    graph = {
        name: {used for used in imports(path) if used in known and used != name}
        for name, path in known.items()
        if path.stem not in FRONT
    }
    done: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, " → ".join((*trail, name))
        if name not in done:
            for used in sorted(graph.get(name, ())):
                visit(used, (*trail, name))
            done.add(name)

    for name in sorted(graph):
        visit(name, ())


def loaded(code: str) -> set[str]:
    """Which heavy libraries a fresh interpreter has loaded after ``code``."""
    tail = f"\nimport json, sys; print(json.dumps([m for m in {HEAVY} if m in sys.modules]))"
    run = subprocess.run(
        [sys.executable, "-c", code + tail], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return set(json.loads(run.stdout.splitlines()[-1]))


def test_the_ground_floor_loads_neither_torch_nor_numpy() -> None:
    names = [name for name, number in FLOORS.items() if number == 0]
    assert loaded("\n".join(f"import crbench.{name}" for name in names)) == set()


def test_scoring_board_pictures_and_site_never_load_torch() -> None:
    light = {FLOORS[name] for name in ("scoring", "board", "draw", "site", "serve")}
    names = [module(path) for path in SOURCES if floor(module(path)) in light]
    assert len(names) > 10
    assert "torch" not in loaded("\n".join(f"import {name}" for name in names))
    for path in SOURCES:
        if floor(module(path)) in light:
            assert not {name for name in imports(path) if name.split(".")[0] == "torch"}, path


HELP = """
import sys
from crbench.cli import main
sys.argv = ["crbench", *{words!r}, "--help"]
try:
    main()
except SystemExit as stop:
    assert stop.code == 0, stop.code
"""


@pytest.mark.parametrize("words", [(), ("train",), ("cache", "build"), ("leaderboard",)])
def test_help_loads_no_heavy_library(words: tuple[str, ...]) -> None:
    assert loaded(HELP.format(words=list(words))) == set()


def processor_time(*words: str) -> float:
    """Seconds of processor time that a Python process takes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], capture_output=True, check=True, cwd=ROOT)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_takes_little_more_than_the_libraries_that_draw_it() -> None:
    """0.18 s on a quiet machine; a share, taking turns, so that other work does not matter."""
    drawn = "import typer, rich.console, rich.markdown, rich.panel, rich.table"
    shares = [
        processor_time("-m", "crbench", "--help") / processor_time("-c", drawn) for _ in range(5)
    ]
    assert statistics.median(shares) < 2.5


def texts() -> list[Path]:
    """Every text file of the project, without what is built or downloaded."""
    folders = (
        "crbench",
        "tests",
        "scripts",
        "methods",
        "datasets",
        "results",
        ".ci",
        ".github",
        "docs",
    )
    found = [path for path in ROOT.iterdir() if path.is_file() and path.name != ".git"]
    for folder in folders:
        found += [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    kinds = {".py", ".toml", ".md", ".csv", ".json", ".cff", ".txt", ".sh", ".yml", ".yaml", ""}
    return [p for p in found if p.suffix in kinds and "__pycache__" not in p.parts]


def test_no_file_is_over_400_lines() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in texts()
        if path.suffix == ".py" and (count := len(path.read_text().splitlines())) > 400
    }
    assert not long


def test_no_file_names_a_machine_or_a_package_index() -> None:
    homes = "|".join(("wo" + "rk", "ro" + "ot", "ho" + "me", "Us" + "ers"))
    hosts = "|".join(("pypi" + r"\.org", "python" + "hosted", "index" + "-url"))
    pattern = re.compile(rf"(?<![\w.\-/<{{}}])/(?:{homes})/|{hosts}")
    assert pattern.search(" /" + "home/someone/x")
    assert pattern.search("https://pypi" + ".org/simple")
    bad = {
        f"{path.relative_to(ROOT)}: {match.group()}"
        for path in texts()
        if (match := pattern.search(path.read_text(encoding="utf-8", errors="replace")))
    }
    assert not bad
